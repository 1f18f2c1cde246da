//! Why a command failed, and how the process exits for it.

use std::error::Error as _;
use std::io;

use crate::bench::BenchError;
use crate::config::{Explain, NodeFileError};
use crate::exit::Exit;
use crate::partition::PartitionProblem;
use crate::program::{self, ProgramError};
use crate::run::RunError;

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
    /// A program that cannot be run.
    #[error("{0}")]
    Program(#[source] ProgramError),
    /// A program that does not fit into the LWK.
    #[error("{0}")]
    Fit(#[source] PartitionProblem),
    /// The run failed, and not by the program's doing.
    #[error(transparent)]
    Run(#[from] RunError),
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
            CliError::NodeFile(_) | CliError::Printed | CliError::NoProgram | CliError::Fit(_) => {
                Exit::Usage
            }
            CliError::Program(error) => program::exit(error),
            // As a program that does not ignore the signal.
            CliError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Exit::Signal(SIGPIPE)
            }
            CliError::Run(_) | CliError::Bench(_) | CliError::Output(_) => Exit::Failure,
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
