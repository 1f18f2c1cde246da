//! The benchmark program: one static binary that runs unchanged in the LWK and as a Linux process, so that the two
//! can be compared.
//!
//! Each benchmark checks its own result: a fast wrong answer is a failure with status 1, not a figure. The program is
//! single-threaded, maps no files and makes only plain calls, because it measures an LWK as well as it measures Linux.
//!
//! The benchmarks are [`triad`] (memory bandwidth), [`dgemm`] (floating point), [`cg`] (sparse linear algebra), [`random`]
//! (TLB and latency), [`read`] (delegated I/O), [`noise`] (what else happens on the core) and [`syscall`] (the calls themselves). All `unsafe` is in [`simd`] and
//! [`machine`].

mod buffer;
mod cg;
mod dgemm;
mod error;
mod figure;
mod machine;
mod noise;
mod passes;
mod random;
mod read;
mod rng;
mod simd;
mod stencil;
mod syscall;
mod triad;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use error::BenchError;
use figure::Output;

/// Benchmarks that check their own results.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Print one JSON object a line instead of a table.
    #[arg(long, global = true)]
    json: bool,
    /// Bind the program to this core first. Not for an LWK, which has chosen one already.
    #[arg(long, global = true, value_name = "CORE")]
    cpu: Option<usize>,
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Memory bandwidth: a = b + s * c over three arrays.
    Triad {
        /// Size of each array in MiB.
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
        mib: u32,
        /// Timed passes.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        passes: u32,
    },
    /// Floating point: a dense matrix product.
    Dgemm {
        /// Order of the matrices.
        #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u32).range(1..=32768))]
        n: u32,
        /// Timed passes.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        passes: u32,
    },
    /// Sparse linear algebra: conjugate gradients on a 27-point stencil.
    Cg {
        /// Edge of the cubic grid, in points.
        #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u32).range(2..=512))]
        n: u32,
        /// Iterations.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        iterations: u32,
    },
    /// Random access: independent updates and a dependent chain over one table.
    Random {
        /// Size of the table in MiB.
        #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
        mib: u32,
        /// Updates in millions; the dependent chain has a quarter of it.
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
        millions: u32,
    },
    /// File input: reads a file to its end with read(2).
    Read {
        /// The file.
        file: PathBuf,
        /// Bytes of each read; K, M and G are powers of 1024.
        #[arg(long, default_value = "1M", value_parser = read::parse_block)]
        block: usize,
        /// Timed passes over the file.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        passes: u32,
    },
    /// Noise: the same work again and again; what takes longer was interrupted.
    Noise {
        /// Quanta of some 10 us each.
        #[arg(long, default_value_t = 500_000, value_parser = clap::value_parser!(u32).range(100..=100_000_000))]
        quanta: u32,
    },
    /// System calls: cost of getpid and getppid, and of leaving the guest.
    Syscall {
        /// Samples of each call; fewer where they would take longer than two seconds.
        #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(100..))]
        samples: u32,
        /// Also measure an exit to the VMM and back. Only an LWK can.
        #[arg(long)]
        probe_exit: bool,
    },
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("margay-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<(), BenchError> {
    if let Some(core) = cli.cpu {
        machine::pin_to_core(core).map_err(|source| BenchError::Pin { core, source })?;
    }
    let output = if cli.json { Output::Json } else { Output::Table };
    match &cli.benchmark {
        Benchmark::Triad { mib, passes } => output.figures(&triad::run(*mib, *passes)?),
        Benchmark::Dgemm { n, passes } => output.figures(&dgemm::run(*n, *passes)?),
        Benchmark::Cg { n, iterations } => output.figures(&cg::run(*n, *iterations)?),
        Benchmark::Random { mib, millions } => output.figures(&random::run(*mib, *millions)?),
        Benchmark::Read { file, block, passes } => {
            output.figures(&read::run(file, *block, *passes)?)
        }
        Benchmark::Noise { quanta } => output.figures(&noise::run(*quanta)?),
        Benchmark::Syscall { samples, probe_exit } => {
            let exit = if *probe_exit { syscall::Exit::Probe } else { syscall::Exit::Skip };
            output.latencies(&syscall::run(*samples, exit)?)
        }
    }
}
