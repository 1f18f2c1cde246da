//! `margay up`, `margay down`

use std::io::Read;
use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::Args;

use crate::cli::client::{self, NodeArgs};
use crate::cli::{CliError, node};
use crate::config::NodeConfig;
use crate::control::message::Request;
use crate::exit::Exit;
use crate::lwk::log::Echo;
use crate::node::daemon;
use crate::partition::Resources;

/// Arguments of `margay up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// The node file
    #[arg(value_name = "NODE.toml")]
    node: PathBuf,
    /// Stay in the foreground, and print what the LWKs say
    #[arg(long)]
    foreground: bool,
    /// Where to say that the node is up
    #[arg(long, hide = true, requires = "foreground")]
    ready_fd: Option<RawFd>,
}

/// Arguments of `margay down`.
#[derive(Debug, Args)]
pub struct DownArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// End programs that run
    #[arg(long)]
    force: bool,
}

/// Starts a node.
pub(super) fn up(args: &UpArgs) -> Result<Exit, CliError> {
    let config = NodeConfig::load(&args.node)?;
    let partition = node::resolve(&config, &Resources::collect(&config))?;
    let name = &partition.name;
    match (args.foreground, args.ready_fd) {
        (false, _) => {
            daemon::run_in_background(&args.node)?;
            eprintln!(
                "margay: node {name} is up; `margay exec -- PROGRAM` runs a program, `margay ps` shows it"
            );
        }
        (true, Some(ready)) => {
            daemon::run_here(&partition, Echo::No, |place| daemon::report_up(ready, place))?;
        }
        (true, None) => {
            let announce = |_: &_| {
                eprintln!("margay: node {name} is up");
                Ok(())
            };
            daemon::run_here(&partition, Echo::StandardError, announce)?;
        }
    }
    Ok(Exit::Success)
}

/// Ends a node, and returns when nothing of it is left.
pub(super) fn down(args: &DownArgs) -> Result<Exit, CliError> {
    let connection = client::request(&args.node, &Request::Down { force: args.force })?;
    let message = connection.done()?;
    // The connection ends with the node's process.
    let _ = connection.stream().read_to_end(&mut Vec::new());
    eprintln!("margay: {message}");
    Ok(Exit::Success)
}
