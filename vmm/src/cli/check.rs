//! `margay check`

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::{CliError, node, print_json};
use crate::config::{MistakeRecord, NodeConfig, NodeFileError};
use crate::exit::Exit;
use crate::partition::record::PartitionRecord;
use crate::partition::render::render;
use crate::partition::{Partition, Resources};

/// Arguments of `margay check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The node file
    #[arg(value_name = "NODE.toml")]
    node: PathBuf,
    /// Print data for programs; also for mistakes: {"mistakes": [{message, hint, line, column}]}
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Mistakes {
    mistakes: Vec<MistakeRecord>,
}

pub(super) fn execute(args: &CheckArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    match check(args) {
        Ok((_, partition, host)) if args.json => {
            print_json(out, &PartitionRecord::new(&partition, &host))?;
        }
        Ok((node, partition, host)) => write!(out, "{}", render(&node, &partition, &host))?,
        Err(error @ NodeFileError::Mistakes { .. }) if args.json => {
            print_json(out, &Mistakes { mistakes: error.records() })?;
            return Err(CliError::Printed);
        }
        Err(error) => return Err(error.into()),
    }
    Ok(Exit::Success)
}

/// Resolves the node and looks at its programs, too.
fn check(args: &CheckArgs) -> Result<(NodeConfig, Partition, Resources), NodeFileError> {
    let node = NodeConfig::load(&args.node)?;
    let host = Resources::collect_all(&node);
    let partition = node::resolve(&node, &host)?;
    node::check_programs(&node, &partition)?;
    Ok((node, partition, host))
}
