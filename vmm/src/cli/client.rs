//! What the commands that talk to a node have in common.

use std::os::unix::net::UnixStream;

use clap::Args;
use margay_protocol::frame::{self, FrameError};

use crate::cli::CliError;
use crate::control::message::{Reply, Request};
use crate::control::place::Place;

/// Which node.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// The node; may be left out if only one is up
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

/// A connection on which a request was made.
pub(super) struct Connection {
    place: Place,
    stream: UnixStream,
}

/// Connects to the node and makes a request.
pub(super) fn request(node: &NodeArgs, request: &Request) -> Result<Connection, CliError> {
    let place = Place::find(node.node.as_deref())?;
    let stream = place.connect()?;
    frame::write(&stream, request).map_err(CliError::NodeGone)?;
    Ok(Connection { place, stream })
}

impl Connection {
    /// The next reply, unless it is a refusal.
    pub(super) fn reply(&self) -> Result<Reply, CliError> {
        match frame::read(&self.stream) {
            Ok(Reply::Refused { message, hint, status }) => {
                Err(CliError::Refused { message, hint, status })
            }
            Ok(reply) => Ok(reply),
            Err(FrameError::Io(_)) if !self.place.is_alive() => Err(self.place.dead().into()),
            Err(error) => Err(error.into()),
        }
    }

    /// What there is to say about a thing that was done.
    pub(super) fn done(&self) -> Result<String, CliError> {
        match self.reply()? {
            Reply::Done(message) => Ok(message),
            other => Err(CliError::Unexpected(format!("{other:?}"))),
        }
    }

    /// The connection itself.
    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }
}
