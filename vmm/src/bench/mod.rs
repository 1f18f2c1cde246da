//! `margay bench`: what a system call costs in an LWK, beside the floor that the hardware sets, in one run.
//!
//! An absolute time on a shared machine says little, so each figure is taken next to its floor or its peer, several times
//! in turn, and reported as a median with its ratio. The parts: [`floor`] measures the two cache-line transfers that a
//! delegated call cannot avoid; [`child`] runs the benchmark program on Linux and in an LWK; [`syscall`] takes the rounds;
//! [`figures`] is what they come to, and [`table`] shows it. Nothing here judges a timing: a missed target is reported,
//! never an error.

pub mod child;
pub mod figures;
pub mod floor;
pub mod stats;
pub mod syscall;
pub mod table;
mod warm_file;

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use serde::Serialize;

use crate::partition::Partition;
use crate::units::CoreId;

pub use figures::Figures;

/// The two cores of the measurement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Cores {
    /// Where the proxy runs.
    pub service: CoreId,
    /// Where the LWK runs, and its peers on Linux.
    pub lwk: CoreId,
}

impl Cores {
    /// The first cores of a partition.
    pub fn of(partition: &Partition) -> Cores {
        let service = partition.service.cores.iter().next();
        Cores {
            service: service.expect("a partition has a service core"),
            lwk: *partition.lwks[0].cores.first().expect("a partition has an LWK core"),
        }
    }
}

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A thread cannot be bound to its core.
    #[error(
        "cannot bind a thread to core {core}: {source}; `margay host` lists the cores that can be used"
    )]
    Pin {
        /// The core.
        core: CoreId,
        /// Linux's reason.
        source: io::Error,
    },
    /// The path of this very program is unknown.
    #[error("cannot find this program's own file: {0}; start it by its path")]
    OwnPath(#[source] io::Error),
    /// The benchmark program is not where it belongs.
    #[error("there is no {}; build it with `./x build` and keep it beside `margay`", .0.display())]
    NoBenchProgram(PathBuf),
    /// A process cannot be started, or its output not read.
    #[error("cannot run {}: {source}", program.display())]
    Start {
        /// Its file.
        program: PathBuf,
        /// Linux's reason.
        source: io::Error,
    },
    /// The benchmark program failed. It has said why on standard error.
    #[error("{what} ended with {status}; its own message is above")]
    Failed {
        /// The run.
        what: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The benchmark program printed something else than figures.
    #[error(
        "{what} did not print the figures of {wanted}; `margay` and `margay-bench` must come from one build"
    )]
    Unreadable {
        /// The run.
        what: String,
        /// What was looked for.
        wanted: &'static str,
    },
    /// The file for the read benchmark cannot be made.
    #[error("cannot make a file of {bytes} bytes to read: {source}; free some memory in /dev/shm")]
    WarmFile {
        /// Its size.
        bytes: u64,
        /// Linux's reason.
        source: io::Error,
    },
}
