//! Why a proxy gives up. All of these end it with one line on stderr.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use margay_channel::RingError;
use thiserror::Error;

use crate::args::ArgsError;
use crate::mirror::MirrorError;

/// The end of a proxy that is not the end of its program.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// The command line is not what margay writes.
    #[error("cannot read the command line (the proxy is started by margay, not by hand)")]
    Args(#[from] ArgsError),
    /// The program file named on the command line is not there.
    #[error("cannot find the program {path}")]
    Program {
        /// As given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A descriptor that the proxy's maker should have passed is not usable.
    #[error("descriptor {fd} is not the {what} that margay must pass")]
    Descriptor {
        /// Its number.
        fd: i32,
        /// What it should be.
        what: &'static str,
        /// Why it is not.
        source: io::Error,
    },
    /// The proxy's own mappings cannot be read.
    #[error("cannot read the proxy's own mappings in /proc/self/maps; is /proc mounted?")]
    OwnMappings(#[source] io::Error),
    /// The proxy itself lies where the program's memory must go.
    #[error(
        "the proxy itself lies in the program's addresses ({0}); build it as a position-independent executable"
    )]
    Territory(String),
    /// Signals cannot be set up.
    #[error("cannot set up signals")]
    Signals(#[source] io::Error),
    /// The guest broke the ring.
    #[error("the call channel is broken")]
    Ring(#[source] RingError),
    /// A record of the map log cannot be followed.
    #[error("cannot follow the map log")]
    Mirror(#[from] MirrorError),
    /// A doorbell failed.
    #[error("cannot {0} the doorbell")]
    Doorbell(&'static str, #[source] io::Error),
    /// The thread that watches the control connection cannot be started.
    #[error("cannot watch the control connection")]
    Watch(#[source] io::Error),
    /// The doorbell is a socket, and its other end is closed.
    #[error("the node is gone: nobody holds the other end of the doorbell")]
    Gone,
    /// The guest asked to die by something that is not a signal.
    #[error("the guest asked to die by {0}, which is not a signal")]
    NotASignal(u64),
}

/// Prints an error with its causes, on one line.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
