//! What can go wrong: a wrong result, or a machine that cannot run the benchmark.

use std::{io, path::PathBuf};

/// Why a benchmark gives no figure.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The benchmark's own check failed: the machine, the LWK or the program computes wrongly.
    #[error("{benchmark}: wrong result: {what}")]
    WrongResult {
        /// The benchmark.
        benchmark: &'static str,
        /// What was expected and what came.
        what: String,
    },
    /// The memory that the benchmark needs is not there.
    #[error("no memory for {bytes} bytes; choose a smaller size or give the program more memory")]
    NoMemory {
        /// Size of the allocation that failed.
        bytes: usize,
    },
    /// The file to read cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Linux's reason.
        source: io::Error,
    },
    /// The file to read is empty, so there is no speed.
    #[error("{} is empty; choose a file with data", path.display())]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// The program cannot be bound to the core.
    #[error("cannot bind to core {core}: {source}; see `taskset -p $$` for the cores allowed")]
    Pin {
        /// The core.
        core: usize,
        /// Linux's reason.
        source: io::Error,
    },
    /// The call that leaves the guest was answered with an error.
    #[error("the exit probe returned {returned}; it works only in an LWK")]
    NoExitProbe {
        /// What the call returned.
        returned: i64,
    },
    /// Standard output does not take the figures.
    #[error("cannot write the figures: {0}")]
    Output(#[source] io::Error),
}
