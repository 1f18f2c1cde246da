//! What a run and a benchmark are asked to do: everything decided and checked, nothing started.

use std::ffi::OsString;

use crate::partition::Partition;
use crate::program::ProgramFile;

/// A run of one program in one LWK.
#[derive(Debug)]
pub struct RunRequest {
    /// Where.
    pub partition: Partition,
    /// The program.
    pub program: ProgramFile,
    /// Its arguments, the first as the user named the program.
    pub argv: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// What to print at the end.
    pub report: Report,
}

/// What to print, on standard error, when the program has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Report {
    /// Nothing but failures.
    Failures,
    /// The statistics, for people.
    Text,
    /// The statistics, or the failure, as one JSON object.
    Json,
}

/// A measurement of calls.
#[derive(Debug)]
pub struct BenchRequest {
    /// Where.
    pub partition: Partition,
    /// Calls to make for each figure.
    pub calls: u32,
    /// How to print the figures on standard output: [`Report::Json`], or else for people.
    pub report: Report,
}
