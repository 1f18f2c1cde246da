//! Why a command failed, and how the process exits for it.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use margay_protocol::frame::FrameError;

use crate::bench::BenchError;
use crate::config::{Explain, NodeFileError};
use crate::control::place::PlaceError;
use crate::exit::Exit;
use crate::node::NodeError;
use crate::node::daemon::DaemonError;
use crate::partition::PartitionProblem;
use crate::parts::PartsError;
use crate::program::{self, ProgramError};
use crate::relay::RelayError;
use crate::run::RunError;
use crate::service::ServiceError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The node file, or what it asks of this host.
    #[error(transparent)]
    NodeFile(#[from] NodeFileError),
    /// Mistakes that were already printed as data.
    #[error("the node file has mistakes")]
    Printed,
    /// No program to run.
    #[error(
        "the node file names no program; name one on the command line: margay run FILE -- PROGRAM"
    )]
    NoProgram,
    /// An LWK that the node does not have.
    #[error("the node has no LWK {name}; it has {}", known.join(", "))]
    NoSuchLwk {
        /// The name.
        name: String,
        /// Those that it has.
        known: Vec<String>,
    },
    /// A program that cannot be run.
    #[error("{0}")]
    Program(#[source] ProgramError),
    /// A program that does not fit into the LWK.
    #[error("{0}")]
    Fit(#[source] PartitionProblem),
    /// The run failed, and not by the program's doing.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The node cannot be found or reached.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The node did not come up, or failed.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// The node said no.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// The exit status.
        status: u8,
    },
    /// The node went away during a request.
    #[error("the node has gone: {0}")]
    NodeGone(#[source] io::Error),
    /// The node's answer.
    #[error("no answer from the node: {0}")]
    Frame(#[from] FrameError),
    /// An answer to another question.
    #[error(
        "the node gave an answer that this margay does not understand: {0}; it was started by another version?"
    )]
    Unexpected(String),
    /// A program behind the service VM.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The process cannot become a proxy.
    #[error("cannot become the program's proxy: {0}")]
    Proxy(#[source] io::Error),
    /// A part of Margay is missing.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// An LWK image.
    #[error("cannot use the LWK image {}: {source}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The measurement failed.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// Standard output failed.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

impl CliError {
    /// The exit status.
    pub fn exit(&self) -> Exit {
        const SIGPIPE: u8 = libc::SIGPIPE as u8;
        match self {
            CliError::NodeFile(_)
            | CliError::Printed
            | CliError::NoProgram
            | CliError::NoSuchLwk { .. }
            | CliError::Fit(_) => Exit::Usage,
            CliError::Program(error) => program::exit(error),
            // As a program that does not ignore the signal.
            CliError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Exit::Signal(SIGPIPE)
            }
            CliError::Place(_) | CliError::Image { .. } => Exit::Usage,
            CliError::Run(RunError::Node(NodeError::Service(ServiceError::Interrupted))) => {
                Exit::Signal(libc::SIGINT as u8)
            }
            CliError::Refused { status, .. }
            | CliError::Relay(RelayError::Refused { status, .. })
            | CliError::Run(RunError::Relay(RelayError::Refused { status, .. })) => {
                Exit::Status(*status)
            }
            _ => Exit::Failure,
        }
    }

    /// Whether there is nothing to tell the user.
    pub fn is_silent(&self) -> bool {
        matches!(self, CliError::Printed) || self.exit() == Exit::Signal(libc::SIGPIPE as u8)
    }

    /// The error with its cause and what to do about it.
    pub fn message(&self) -> String {
        let hint = match self {
            CliError::NodeFile(error @ NodeFileError::Mistakes { .. }) => return error.to_string(),
            CliError::Program(error) => error.hint(),
            CliError::Refused { hint, .. }
            | CliError::Relay(RelayError::Refused { hint, .. })
            | CliError::Run(RunError::Relay(RelayError::Refused { hint, .. })) => hint.clone(),
            // What it said names itself.
            CliError::Daemon(DaemonError::Ended(said)) if !said.is_empty() => {
                return said.trim_end().to_owned();
            }
            CliError::Fit(error) => error.hint(),
            _ => None,
        };
        let mut text = format!("margay: {self}");
        if let (CliError::NodeFile(error), None) = (self, &hint) {
            text += &error.source().map_or(String::new(), |cause| format!(": {cause}"));
        }
        text + &hint.map_or(String::new(), |hint| format!("\n  help: {hint}"))
    }
}
