//! `margay exec`: this process becomes the program's stand-in, as `mcexec` does.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use clap::Args;
use margay_protocol::{Text, frame};

use crate::cli::client::{self, Connection, NodeArgs};
use crate::cli::{CliError, run};
use crate::control::connection;
use crate::control::message::{Exec, ExecPlace, Grant, Launched, Reply, Request};
use crate::exit::Exit;
use crate::node::signals::SignalFd;
use crate::parts::Parts;
use crate::program::ProgramFile;
use crate::proxy::{ProxyCommand, Wiring};
use crate::relay::{self, Input, RelayError};
use crate::request::Program;
use crate::run::launch;
use crate::units::{Bytes, CoreSet};
use crate::{affinity, partition};

/// Arguments of `margay exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The LWK; by default the first that is ready
    #[arg(long, value_name = "NAME")]
    lwk: Option<String>,
    /// In the service VM's own Linux instead of an LWK: to look after it
    #[arg(long, conflicts_with = "lwk")]
    service: bool,
    /// Time the program's calls, for `margay stat --calls LWK` afterwards
    #[arg(long)]
    stats: bool,
    /// The program and its arguments; by default those of the node file
    #[arg(last = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

/// Runs a program in an LWK of a node. Returns only if it cannot, or if it runs with a service VM.
pub(super) fn execute(args: &ExecArgs) -> Result<Exit, CliError> {
    let exec = Exec {
        place: match &args.lwk {
            Some(lwk) => ExecPlace::Lwk(lwk.clone()),
            None if args.service => ExecPlace::Service,
            None => ExecPlace::AnyLwk,
        },
        statistics: args.stats,
        args: args.command.iter().map(Text::from).collect(),
        ..Exec::from_here()
    };
    let connection = client::request(&args.node, &Request::Exec(Box::new(exec)))?;
    match connection.reply()? {
        Reply::Granted(grant) => match become_proxy(&connection, &grant)? {},
        Reply::Relayed { terminal } => {
            let stream = connection.stream();
            SignalFd::for_relay()
                .and_then(|signals| relay::forward_signals(signals, stream))
                .map_err(RelayError::Streams)?;
            let (report, status) = relay::run(stream, terminal, Input::Standard)?;
            eprint!("{report}");
            Ok(Exit::Status(status))
        }
        other => Err(CliError::Unexpected(format!("{other:?}"))),
    }
}

/// Becomes the proxy of the program that `grant` names.
fn become_proxy(connection: &Connection, grant: &Grant) -> Result<Infallible, CliError> {
    let stream = connection.stream();
    let [memory, kick, wake] =
        connection::receive_descriptors(stream).map_err(CliError::NodeGone)?;
    let (program, file) = match find_program(grant) {
        Ok(found) => found,
        Err(error) => {
            // The node takes the LWK back; if it is gone there is nobody to tell.
            let _ = frame::write(stream, &Launched::Err(error.to_string()));
            return Err(error);
        }
    };
    bind(grant);
    let wiring = Wiring {
        memory: memory.as_raw_fd(),
        memory_bytes: grant.memory_bytes,
        kick: kick.as_raw_fd(),
        wake: wake.as_raw_fd(),
        control: Some(stream.as_raw_fd()),
        program: &file,
        spin: Duration::from_micros(grant.spin_us),
    };
    let parts = Parts::find()?;
    let command = ProxyCommand::new(&parts, &wiring, &program.env).map_err(CliError::Proxy)?;
    let launch = launch((&program, &file), std::process::id(), command.program_fd());
    frame::write(stream, &Launched::Ok(launch)).map_err(CliError::NodeGone)?;
    Err(CliError::Proxy(command.replace_this_process()))
}

/// Finds and checks the program here, where its path and environment mean something.
fn find_program(grant: &Grant) -> Result<(Program, ProgramFile), CliError> {
    let args: Vec<OsString> = grant.args.iter().map(|arg| arg.0.clone()).collect();
    let name = args.first().ok_or(CliError::NoProgram)?;
    let file = ProgramFile::open(Path::new(name)).map_err(CliError::Program)?;
    let (stack, memory) = (Bytes(grant.stack_bytes), Bytes(grant.memory_bytes));
    partition::check_fits(&file.image, stack, memory).map_err(CliError::Fit)?;
    let program = Program { lwk: 0, file: None, args, env: run::environment(&grant.env) };
    Ok((program, file))
}

/// Moves this process to the service OS's cores: it will poll there, and must not do so on an LWK's. A scheduler that has
/// confined this process to others has its way.
fn bind(grant: &Grant) {
    let bound =
        grant.cores.parse().is_ok_and(|cores: CoreSet| affinity::bind(cores.iter()).is_ok());
    if !bound {
        eprintln!(
            "margay: note: this process may not use the service OS's cores, {}; calls may be slow, or disturb {}",
            grant.cores, grant.lwk
        );
    }
}
