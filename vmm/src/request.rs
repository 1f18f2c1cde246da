//! What a run and a benchmark are asked to do: everything decided and checked, nothing started.

use std::ffi::OsString;

use crate::partition::{Partition, ServiceVmPlan};
use crate::program::ProgramFile;
use crate::text;

/// A run of one program in each of some LWKs.
#[derive(Debug)]
pub struct RunRequest {
    /// Where.
    pub partition: Partition,
    /// The programs, at least one, in different LWKs.
    pub programs: Vec<Program>,
    /// What to print at the end.
    pub report: Report,
}

/// A program to run.
#[derive(Debug)]
pub struct Program {
    /// In which LWK of the partition.
    pub lwk: usize,
    /// Its file, if that is on this host: with a service VM it is there.
    pub file: Option<ProgramFile>,
    /// Its arguments, the first as the user named the program.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(OsString, OsString)>,
}

impl Program {
    /// The command, for messages.
    pub fn describe(&self) -> String {
        text::command(self.args.iter().map(OsString::as_os_str))
    }
}

/// A run of one program in a stock Linux guest.
#[derive(Debug)]
pub struct PeerRequest {
    /// The guest, but for the program's file.
    pub machine: ServiceVmPlan,
    /// The program.
    pub file: ProgramFile,
    /// Its arguments, the first as the user named the program.
    pub args: Vec<OsString>,
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
