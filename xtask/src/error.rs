//! What can go wrong in a task, in words that say what to do about it.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
};

/// Why a task failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program could not be started.
    #[error("cannot start `{command}`; is it installed?")]
    Spawn {
        /// The command line.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A program ran and failed; its own messages are on the terminal.
    #[error("`{command}` failed ({status}); its messages are above")]
    Failed {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// A file could not be read, written, ...
    #[error("cannot {action} {}", path.display())]
    Io {
        /// A verb.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The node's kernel is not to be had.
    #[error(
        "no package {0} known to apt; run `apt-get update`, or see if this system is Debian 12"
    )]
    NoKernel(&'static str),
    /// Some output was not what its program promises.
    #[error("unexpected output of `{command}`: {output:?}")]
    Output {
        /// The command line.
        command: String,
        /// What it printed.
        output: String,
    },
    /// The virtual node did not come to the end of its command.
    #[error(transparent)]
    Node(#[from] crate::node::NodeError),
    /// A command in the virtual node failed; its own messages are on the terminal.
    #[error("the tests in the virtual node ended with status {0}; their messages are above")]
    InNode(u8),
    /// Some stages of `./x test` failed; each has said why.
    #[error("failed: {}", .0.join(", "))]
    Stages(Vec<&'static str>),
}

impl Error {
    /// Makes an I/O error into an [`Error`] that names the file; for `map_err`.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }
}

/// The error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line = format!("{line}: {cause}");
        next = cause.source();
    }
    line
}
