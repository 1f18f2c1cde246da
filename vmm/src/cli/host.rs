//! `margay host`

use std::io::Write;

use clap::Args;

use crate::cli::{CliError, print_json};
use crate::exit::Exit;
use crate::host::{HostFacts, render::render};

/// Arguments of `margay host`.
#[derive(Debug, Args)]
pub struct HostArgs {
    /// Print data for programs
    #[arg(long)]
    json: bool,
}

pub(super) fn execute(args: &HostArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    let host = HostFacts::collect();
    if args.json {
        print_json(out, &host)?;
    } else {
        write!(out, "{}", render(&host))?;
    }
    Ok(Exit::Success)
}
