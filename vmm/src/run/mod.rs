//! `margay run`: a node in the foreground, for one program in each LWK that has one.
//!
//! ```text
//! request -> node (memory, VMs) -> for each program: proxy (a child) -> LWK -> report
//!                   \-> control loop (service cores)
//! ```
//!
//! Everything is owned by this process or dies with it: see `docs/node.md`, "Ends and failures".

mod forward;
mod peer;

use std::ffi::OsString;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use margay_protocol::agent::Ending;
use margay_protocol::{Launch, Text, frame};
use thiserror::Error;

use crate::control::message::{Exec, ExecPlace, Request};
use crate::exit::Exit;
use crate::inherited;
use crate::lwk::log::Echo;
use crate::lwk::{LwkError, Statistics};
use crate::node::busy::Busy;
use crate::node::child::ChildProxy;
use crate::node::control::{self, Sources};
use crate::node::program::{self, Start};
use crate::node::session;
use crate::node::signals::SignalFd;
use crate::node::slot::{Slot, Unavailable};
use crate::node::stand_in::StandIn;
use crate::node::{Node, NodeError};
use crate::program::ProgramFile;
use crate::proxy::{ProxyCommand, Wiring};
use crate::relay::{self, Input, RelayError};
use crate::report::figures::Figures;
use crate::request::{Program, Report, RunRequest};

use forward::{Forwarder, Target};

pub use peer::execute as execute_on_linux;

/// Why a program could not be run, or not to its end.
#[derive(Debug, Error)]
pub enum RunError {
    /// The node could not be made.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The LWK could not be used.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The LWK could not be started.
    #[error(transparent)]
    Lwk(#[from] LwkError),
    /// The proxy.
    #[error("cannot start the proxy: {0}")]
    Proxy(#[source] io::Error),
    /// A program behind the service VM.
    #[error(transparent)]
    Relay(#[from] RelayError),
    /// The event loop.
    #[error("the control loop failed: {0}")]
    Control(#[from] event_manager::Error),
    /// The LWK or its KVM failed; the report was printed.
    #[error("the LWK ended abnormally")]
    Crashed,
}

/// Runs the programs of `request` to their ends and returns how the first that failed ended, in the order of the LWKs, or
/// success. Prints failures, and what `request.report` asks for, on standard error.
///
/// # Errors
/// [`RunError`], where Margay or the host failed and not a program.
pub fn execute(request: &RunRequest) -> Result<Exit, RunError> {
    let signals = SignalFd::new().map_err(NodeError::system("take signals"))?;
    let node = Node::boot(&request.partition, Echo::StandardError, &signals)?;
    let results = run_programs(&node, request, &signals);
    // The service VM's disk must be written back; everything else goes with this process.
    node.vm().into_iter().for_each(|vm| vm.down());
    let mut exit = Exit::Success;
    for result in results? {
        let ended = result?;
        if exit == Exit::Success {
            exit = ended;
        }
    }
    Ok(exit)
}

/// Runs all programs side by side; the results are in their order.
fn run_programs(
    node: &Arc<Node>,
    request: &RunRequest,
    signals: &SignalFd,
) -> Result<Vec<Result<Exit, RunError>>, RunError> {
    let forwarder = Forwarder::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (request.programs.iter())
            .map(|program| scope.spawn(|| run_one(node, request, program, &forwarder)))
            .collect();
        let waiter = scope.spawn(|| {
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().expect("a program's thread returns its result and does not panic")
            };
            let results: Vec<Result<Exit, RunError>> = threads.into_iter().map(join).collect();
            // The counter of an eventfd overflows only after 2^64 rings.
            let _ = node.quit().write(1);
            results
        });
        let sources = Sources {
            signals,
            on_signal: &mut |signal| forwarder.send(signal),
            listener: None,
            quit: node.quit(),
        };
        let looped = control::run(node, sources).map_err(RunError::Control);
        let results = waiter.join().expect("the waiting thread does not panic");
        looped.map(|()| results)
    })
}

/// Runs one program to its end and reports.
fn run_one(
    node: &Arc<Node>,
    request: &RunRequest,
    program: &Program,
    forwarder: &Forwarder,
) -> Result<Exit, RunError> {
    let slot = &node.slots()[program.lwk];
    match &program.file {
        Some(file) => run_beside(node, slot, (program, file), request.report, forwarder),
        None => {
            let alone = request.programs.len() == 1;
            run_behind(node, slot, (program, alone), request.report, forwarder)
        }
    }
}

/// Runs a program whose proxy is a child of this process.
fn run_beside(
    node: &Arc<Node>,
    slot: &Slot,
    (program, file): (&Program, &ProgramFile),
    report: Report,
    forwarder: &Forwarder,
) -> Result<Exit, RunError> {
    let busy = Arc::new(
        Busy::new(program.describe(), slot.plan.watch)
            .map_err(NodeError::system("make an eventfd"))?,
    );
    let mut lwk = slot.claim(&busy)?;
    let (kick, wake) = lwk.doorbells()?;
    let wiring = Wiring {
        memory: lwk.memory().file().as_raw_fd(),
        memory_bytes: lwk.memory().bytes(),
        kick: kick.as_raw_fd(),
        wake: wake.as_raw_fd(),
        control: None,
        program: file,
        spin: node.service().spin,
    };
    let command =
        ProxyCommand::new(node.parts(), &wiring, &program.env).map_err(RunError::Proxy)?;
    let program_fd = command.program_fd();
    let child = command.spawn().map_err(RunError::Proxy)?;
    let mut child = ChildProxy::new(child).map_err(RunError::Proxy)?;
    let launch = launch((program, file), child.pid(), program_fd);
    let statistics = if report == Report::Failures { Statistics::Off } else { Statistics::On };
    let start = Start { launch: &launch, spin: node.service().spin, statistics };

    child.process().into_iter().for_each(|process| forwarder.add(Target::Process(process)));
    let ended = program::run(&mut lwk, &start, &busy, (&mut child, &slot.log))?;
    print(report, &Figures::collect(slot.name(), &ended.finished));
    match (&ended.failure, ended.ending) {
        (Some(_), _) => Err(RunError::Crashed),
        (None, Some(Ending::Exited(0))) => Ok(Exit::Success),
        (None, Some(Ending::Exited(status))) => Ok(Exit::Status(status)),
        (None, Some(Ending::Signaled(signal))) => Ok(Exit::Signal(signal as u8)),
        (None, None) => Ok(Exit::Failure),
    }
}

/// Runs a program behind the service VM: as `margay exec` does, over a connection inside this process. Only a program that is alone
/// has this process's input and terminal.
fn run_behind(
    node: &Arc<Node>,
    slot: &Slot,
    (program, alone): (&Program, bool),
    report: Report,
    forwarder: &Forwarder,
) -> Result<Exit, RunError> {
    let (here, there) = UnixStream::pair().map_err(RelayError::Streams)?;
    let from_here = Exec::from_here();
    let exec = Exec {
        place: ExecPlace::Lwk(slot.name().to_owned()),
        statistics: report != Report::Failures,
        args: program.args.iter().map(Text::from).collect(),
        window: from_here.window.filter(|_| alone),
        ..from_here
    };
    frame::write(&here, &Request::Exec(Box::new(exec))).map_err(RelayError::Streams)?;
    let (text, status) = std::thread::scope(|scope| {
        scope.spawn(|| session::serve(node, there));
        let input = if alone { Input::Standard } else { Input::Empty };
        let added = here.try_clone().map(|session| forwarder.add(Target::Relay(session)));
        let ended = added.map_err(RelayError::Streams).and_then(|()| relay::begin(&here, input));
        // Ends a session that has not ended.
        let _ = here.shutdown(Shutdown::Both);
        ended
    })?;
    eprint!("{text}");
    slot.figures().iter().for_each(|figures| print(report, figures));
    Ok(if status == 0 { Exit::Success } else { Exit::Status(status) })
}

/// Prints the figures if they are wanted.
fn print(report: Report, figures: &Figures) {
    match report {
        Report::Failures => {}
        Report::Text => eprint!("{figures}"),
        Report::Json => eprintln!("{}", figures.to_json()),
    }
}

/// What the LWK must know of a program whose proxy has the caller's credentials.
pub fn launch((program, file): (&Program, &ProgramFile), pid: u32, program_fd: u32) -> Launch {
    // SAFETY: these calls only read this process's credentials.
    let ids = unsafe { [libc::getuid(), libc::geteuid(), libc::getgid(), libc::getegid()] };
    let variable = |(name, value): &(OsString, OsString)| {
        let mut text = name.clone();
        text.push("=");
        text.push(value);
        Text(text)
    };
    Launch {
        pid,
        program_fd,
        ids,
        ignored_signals: inherited::ignored_signals(),
        path: Text::from(&file.path),
        args: program.args.iter().map(Text::from).collect(),
        env: program.env.iter().map(variable).collect(),
    }
}
