//! Why the agent gives up. Whatever concerns one program or one device is not here: it is told, and the agent goes on.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::args::ArgsError;

/// The end of the agent.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The command line.
    #[error(transparent)]
    Args(#[from] ArgsError),
    /// A file system without which nothing works.
    #[error("cannot mount {kind} on {at}")]
    Mount {
        /// Its type.
        kind: &'static str,
        /// Where.
        at: &'static str,
        /// Why.
        source: io::Error,
    },
    /// There is no room for a proxy's descriptors.
    #[error("cannot have {0} open files; raise the hard limit (ulimit -Hn)")]
    Descriptors(u64, #[source] io::Error),
    /// The ends of children cannot be waited for.
    #[error("cannot wait for children")]
    Children(#[source] io::Error),
    /// Nobody can connect.
    #[error(
        "cannot listen on vsock port {0:#x}; are the modules vsock and vmw_vsock_virtio_transport loaded?"
    )]
    Vsock(u32, #[source] io::Error),
    /// Nobody can connect.
    #[error("cannot listen on {}", .0.display())]
    Socket(PathBuf, #[source] io::Error),
    /// Nobody can connect any more.
    #[error("cannot accept connections")]
    Accept(#[source] io::Error),
}

/// The error and its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line = format!("{line}: {cause}");
        next = cause.source();
    }
    line
}
