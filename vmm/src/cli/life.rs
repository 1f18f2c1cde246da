//! `margay restart`, `stop`, `log`: one LWK of a node.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use margay_protocol::frame::FrameError;

use crate::cli::CliError;
use crate::cli::client::{self, NodeArgs};
use crate::control::message::{Reply, Request};
use crate::exit::Exit;

/// Arguments of `margay restart`.
#[derive(Debug, Args)]
pub struct RestartArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Boot it from this LWK image, from now on
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The LWK, or `service` for the service VM
    #[arg(value_name = "LWK")]
    lwk: String,
}

/// Arguments of `margay stop`.
#[derive(Debug, Args)]
pub struct StopArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The LWK
    #[arg(value_name = "LWK")]
    lwk: String,
}

/// Arguments of `margay log`.
#[derive(Debug, Args)]
pub struct LogArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Go on with what will be said
    #[arg(short, long)]
    follow: bool,
    /// The LWK, or `service` for the service VM's console
    #[arg(value_name = "LWK")]
    lwk: String,
}

/// Boots an LWK anew.
pub(super) fn restart(args: &RestartArgs) -> Result<Exit, CliError> {
    let absolute = |image: &PathBuf| {
        image.canonicalize().map_err(|source| CliError::Image { path: image.clone(), source })
    };
    let image = args.image.as_ref().map(absolute).transpose()?;
    let request = Request::Restart { of: args.lwk.clone(), image };
    eprintln!("margay: {}", client::request(&args.node, &request)?.done()?);
    Ok(Exit::Success)
}

/// Stops an LWK.
pub(super) fn stop(args: &StopArgs) -> Result<Exit, CliError> {
    let request = Request::Stop { of: args.lwk.clone() };
    eprintln!("margay: {}", client::request(&args.node, &request)?.done()?);
    Ok(Exit::Success)
}

/// Shows what was said about an LWK: seconds since 1970, then the line.
pub(super) fn log(args: &LogArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    let request = Request::Log { of: args.lwk.clone(), follow: args.follow };
    let connection = client::request(&args.node, &request)?;
    loop {
        match connection.reply() {
            Ok(Reply::Text(text)) => {
                out.write_all(text.as_bytes())?;
                out.flush()?;
            }
            Ok(other) => return Err(CliError::Unexpected(format!("{other:?}"))),
            Err(CliError::Frame(FrameError::Closed)) => return Ok(Exit::Success),
            Err(error) => return Err(error),
        }
    }
}
