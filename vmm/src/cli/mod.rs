//! The `margay` command line: one small file for each subcommand.

mod bench;
mod calls;
mod check;
mod client;
mod error;
mod exec;
mod host;
mod life;
mod node;
mod ps;
mod run;
mod up;

use std::io::Write;

use clap::{Parser, Subcommand};
use serde::Serialize;

pub use bench::{BenchArgs, SyscallArgs};
pub use calls::CallsArgs;
pub use check::CheckArgs;
pub use error::CliError;
pub use exec::ExecArgs;
pub use host::HostArgs;
pub use life::{LogArgs, RestartArgs, StopArgs};
pub use ps::{PsArgs, StatArgs};
pub use run::RunArgs;
pub use up::{DownArgs, UpArgs};

use crate::exit::Exit;

/// Runs Linux programs in lightweight kernels beside this host's Linux.
#[derive(Debug, Parser)]
#[command(name = "margay", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit status: that of the program; 128 + n if signal n ended it; 2 for a wrong command line, a mistake in
the node file, or what this host cannot give; 125 if Margay itself failed; 126 if the program cannot be
executed; 127 if there is no such program.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Show what this host can do, what follows, and how to get more
    Host(HostArgs),
    /// Show the partition that a node file makes on this host, or its mistakes
    Check(CheckArgs),
    /// Run a program in an LWK, from boot to end
    Run(RunArgs),
    /// Start a node that lives until `margay down`
    Up(UpArgs),
    /// Run a program in an LWK of a node, as a child of whoever calls
    Exec(ExecArgs),
    /// Show what runs where
    Ps(PsArgs),
    /// Show what the LWKs count
    Stat(StatArgs),
    /// Show what was said about an LWK
    Log(LogArgs),
    /// Boot an LWK anew; the others go on
    Restart(RestartArgs),
    /// Stop an LWK; `restart` starts it again
    Stop(StopArgs),
    /// End a node
    Down(DownArgs),
    /// Measure
    Bench(BenchArgs),
    /// List which system call is done where
    Calls(CallsArgs),
}

impl Cli {
    /// Does what the command line says, and prints to `out`.
    ///
    /// # Errors
    /// [`CliError`], which knows its exit status.
    pub fn execute(&self, out: &mut impl Write) -> Result<Exit, CliError> {
        match &self.command {
            Command::Host(args) => host::execute(args, out),
            Command::Check(args) => check::execute(args, out),
            Command::Bench(args) => bench::execute(args, out),
            Command::Run(args) => run::execute(args),
            Command::Up(args) => up::up(args),
            Command::Exec(args) => exec::execute(args),
            Command::Ps(args) => ps::ps(args, out),
            Command::Stat(args) => ps::stat(args, out),
            Command::Log(args) => life::log(args, out),
            Command::Restart(args) => life::restart(args),
            Command::Stop(args) => life::stop(args),
            Command::Down(args) => up::down(args),
            Command::Calls(args) => calls::execute(args, out),
        }
    }
}

/// Prints a JSON document.
fn print_json(out: &mut impl Write, value: &impl Serialize) -> Result<(), CliError> {
    serde_json::to_writer_pretty(&mut *out, value)
        .map_err(|error| CliError::Output(error.into()))?;
    writeln!(out)?;
    Ok(())
}
