//! `margay exec`, the node's part of it: an LWK is claimed, the program gets its stand-in, is seen through, and the LWK is given back.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use margay_protocol::agent::Place;
use margay_protocol::{Launch, Text, frame};

use super::busy::Busy;
use super::program::{self, Ended, Start};
use super::refusal::{self, Refusal};
use super::relayed::{self, RelayError};
use super::remote_proxy::{Bells, RemoteProxy};
use super::slot::Slot;
use super::stand_in::{Attached, StandIn};
use super::{MESSAGE_LIMIT, Node};
use crate::control::connection;
use crate::control::message::{Exec, ExecPlace, Grant, Launched, Reply};
use crate::lwk::{Lwk, Statistics};
use crate::report::figures::Figures;
use crate::service::ServiceVm;
use crate::text;

/// Runs the program that the command at the other end of `stream` asks for.
///
/// # Errors
/// [`Refusal`]: it was not started.
pub fn serve(node: &Node, stream: &UnixStream, exec: &Exec) -> Result<(), Refusal> {
    if exec.place != ExecPlace::Service {
        return run_in_lwk(node, stream, exec);
    }
    let vm = node.vm().ok_or(Refusal::HostService)?;
    let reply = relayed::run_in_linux(vm, stream, exec)?;
    Ok(frame::write(stream, &reply)?)
}

/// Claims an LWK: the one that is named, or the first that is ready.
fn claim<'n>(node: &'n Node, exec: &Exec) -> Result<(&'n Slot, Box<Lwk>, Arc<Busy>), Refusal> {
    let try_claim = |slot: &'n Slot| {
        let args = arguments(slot, exec)?;
        let command = text::command(args.iter().map(|arg| arg.0.as_os_str()));
        let busy = Arc::new(Busy::new(command, slot.plan.watch)?);
        Ok((slot, slot.claim(&busy)?, busy))
    };
    if let ExecPlace::Lwk(name) = &exec.place {
        return try_claim(refusal::find(node, name)?);
    }
    let mut reasons = Vec::new();
    for slot in node.slots() {
        match try_claim(slot) {
            Err(Refusal::Unavailable(reason)) => reasons.push(reason.to_string()),
            other => return other,
        }
    }
    Err(Refusal::NoneReady(reasons.join("; ")))
}

/// Program and arguments: the command's, or else the node file's.
fn arguments(slot: &Slot, exec: &Exec) -> Result<Vec<Text>, Refusal> {
    if !exec.args.is_empty() {
        return Ok(exec.args.clone());
    }
    let program = slot.plan.program.as_ref();
    let program = program.ok_or_else(|| Refusal::NoProgram(slot.name().to_owned()))?;
    Ok([Text::from(program)].into_iter().chain(slot.plan.args.iter().map(Text::from)).collect())
}

fn run_in_lwk(node: &Node, stream: &UnixStream, exec: &Exec) -> Result<(), Refusal> {
    let (slot, mut lwk, busy) = claim(node, exec)?;
    let made = match node.vm() {
        None => attach(node, slot, &lwk, stream, exec),
        Some(vm) => relay(node, vm, (slot, &lwk), stream, exec),
    };
    let (launch, mut stand_in) = match made {
        Ok(made) => made,
        Err(refusal) => {
            slot.give_back(lwk);
            return Err(refusal);
        }
    };
    let statistics = if exec.statistics { Statistics::On } else { Statistics::Off };
    let start = Start { launch: &launch, spin: node.service().spin, statistics };
    let ran = program::run(&mut lwk, &start, &busy, (&mut *stand_in, &slot.log));
    let (end, reply) = match ran {
        Ok(ended) => {
            slot.note_figures(Figures::collect(slot.name(), &ended.finished));
            (ended.describe(&busy), last_reply(node, &ended))
        }
        Err(error) => {
            let message = format!("margay: cannot start {}: {error}\n", busy.describe());
            stand_in.end(&message);
            slot.log.report(&message);
            (message.clone(), Reply::Ended { report: message, status: 125 })
        }
    };
    slot.release(lwk, end);
    if node.vm().is_some() {
        frame::write(stream, &reply)?;
    }
    Ok(())
}

/// What a command is told that passes on a program's streams.
fn last_reply(node: &Node, ended: &Ended) -> Reply {
    match (&ended.failure, ended.ending) {
        (None, Some(ending)) => {
            Reply::Ended { report: String::new(), status: relayed::status_of(ending) }
        }
        // The proxy has said it.
        (Some(_), _) => Reply::Ended { report: String::new(), status: 125 },
        (None, None) => {
            let report = node.vm().map_or(String::new(), |vm| vm.obituary());
            Reply::Ended { report, status: 125 }
        }
    }
}

/// Has the command become the proxy.
fn attach(
    node: &Node,
    slot: &Slot,
    lwk: &Lwk,
    stream: &UnixStream,
    exec: &Exec,
) -> Result<(Launch, Box<dyn StandIn>), Refusal> {
    let launch = grant(node, slot, lwk, stream, exec)?;
    let stand_in = Attached::new(stream.try_clone()?, launch.pid);
    Ok((launch, Box::new(stand_in)))
}

/// Has the agent in the service VM start a proxy, for which the command passes on streams and signals.
fn relay(
    node: &Node,
    vm: &ServiceVm,
    (slot, lwk): (&Slot, &Lwk),
    stream: &UnixStream,
    exec: &Exec,
) -> Result<(Launch, Box<dyn StandIn>), Refusal> {
    let (kick, wake) = lwk.doorbells()?;
    let index = node.slots().iter().position(|other| std::ptr::eq(other, slot));
    let index = index.expect("the slot is one of the node's");
    let place = Place::Lwk {
        address: vm.shared_address(index).map_err(RelayError::from)?,
        bytes: lwk.memory().bytes(),
        spin_us: node.service().spin.as_micros() as u32,
    };
    let peer = connection::peer(stream)?;
    let request = relayed::Request {
        exec,
        args: arguments(slot, exec)?,
        env: &slot.plan.env,
        place,
        user: (peer.uid, peer.gid),
    };
    let started = relayed::start(vm, request, stream)?;
    let missing = || RelayError::Agent("it started something else".to_owned());
    let launch = started.launch.ok_or_else(missing)?;
    let bells = Bells::new(started.bells.ok_or_else(missing)?, kick, wake)?;
    let proxy = RemoteProxy::new(started.session, stream.try_clone()?, Some(bells));
    Ok((launch, Box::new(proxy)))
}

/// Gives the command what it needs to become the proxy, and waits until it is about to.
fn grant(
    node: &Node,
    slot: &Slot,
    lwk: &Lwk,
    stream: &UnixStream,
    exec: &Exec,
) -> Result<Launch, Refusal> {
    let (kick, wake) = lwk.doorbells()?;
    let grant = Grant {
        lwk: slot.name().to_owned(),
        memory_bytes: lwk.memory().bytes(),
        stack_bytes: slot.plan.stack.0,
        spin_us: node.service().spin.as_micros() as u64,
        cores: node.service().cores.to_string(),
        args: arguments(slot, exec)?,
        env: slot.plan.env.clone(),
    };
    let peer = connection::peer(stream)?;
    frame::write(stream, &Reply::Granted(Box::new(grant)))?;
    let descriptors = [lwk.memory().file().as_raw_fd(), kick.as_raw_fd(), wake.as_raw_fd()];
    connection::send_descriptors(stream, &descriptors)?;
    let launched: Launched = frame::read(stream)?;
    stream.set_read_timeout(Some(MESSAGE_LIMIT))?;
    // What the command says of itself is for its program only, but the process is what Linux says it is.
    let launch = launched.map_err(|_| Refusal::Gone)?;
    Ok(Launch { pid: peer.pid as u32, ..launch })
}
