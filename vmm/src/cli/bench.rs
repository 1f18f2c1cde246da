//! `margay bench`

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::{CliError, node, print_json};
use crate::config::{NodeConfig, Source};
use crate::exit::Exit;
use crate::partition::Resources;
use crate::request::{BenchRequest, Report};

/// Arguments of `margay bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure
    #[command(subcommand)]
    pub what: Bench,
}

/// The benchmarks.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Measure what system calls cost, beside their floors
    Syscall(SyscallArgs),
}

/// Arguments of `margay bench syscall`.
#[derive(Debug, Args)]
pub struct SyscallArgs {
    /// A node file that says where to measure; without it, everything is "auto"
    #[arg(long, value_name = "NODE.toml")]
    node: Option<PathBuf>,
    /// Calls to make for each figure
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..=10_000_000))]
    calls: u32,
    /// Print data for programs: {"floor_ns": {"p50", "p99", "n"}, ...}
    #[arg(long)]
    json: bool,
}

impl SyscallArgs {
    /// Decides and checks everything that can be, before anything starts.
    ///
    /// # Errors
    /// [`CliError`] for mistakes in the node file and what the host cannot give.
    pub fn request(&self) -> Result<BenchRequest, CliError> {
        let node = match &self.node {
            Some(path) => NodeConfig::load(path)?,
            None => {
                let text = "[[lwk]]\nname = \"bench\"\n".to_owned();
                NodeConfig::parse(Source { path: PathBuf::from("(all auto)"), text })?
            }
        };
        let partition = node::resolve(&node, &Resources::collect(&node))?;
        let report = if self.json { Report::Json } else { Report::Text };
        Ok(BenchRequest { partition, calls: self.calls, report })
    }
}

/// Measures, tells on standard error what is being done, and prints the figures.
pub(super) fn execute(args: &BenchArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    let Bench::Syscall(args) = &args.what;
    let request = args.request()?;
    let figures = crate::bench::syscall::measure(&request, |step| eprintln!("margay: {step}"))?;
    match request.report {
        Report::Json => print_json(out, &figures)?,
        _ => write!(out, "{figures}")?,
    }
    Ok(Exit::Success)
}
