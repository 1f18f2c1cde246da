//! One connection of a command, in a thread of its own, from its request to its end.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use margay_protocol::frame::{self, FrameError};

use super::refusal::{self, Refusal};
use super::{LAUNCH_LIMIT, Node, exec};
use crate::control::message::{Reply, Request};
use crate::lwk::log::Log;

/// The name by which the service VM is restarted and its console asked for.
const SERVICE: &str = "service";
/// Time between two looks whether a command that follows a log is still there.
const LOOK: Duration = Duration::from_secs(1);

/// Serves one connection.
pub fn serve(node: &Arc<Node>, stream: UnixStream) {
    let request = stream
        .set_read_timeout(Some(LAUNCH_LIMIT))
        .map_err(FrameError::Io)
        .and_then(|()| frame::read::<Request>(&stream));
    // One that asks nothing gets no answer.
    let Ok(request) = request else { return };
    let served = match request {
        Request::Exec(exec) => exec::serve(node, &stream, &exec),
        Request::Log { of, follow } => send_log(node, &stream, &of, follow),
        Request::Down { force } => take_down(node, &stream, force),
        request => answer(node, request).and_then(|reply| Ok(frame::write(&stream, &reply)?)),
    };
    if let Err(refusal) = served
        && !matches!(refusal, Refusal::Gone)
    {
        // A command that is gone needs no answer.
        let _ = frame::write(&stream, &refusal.into_reply());
    }
}

/// The requests with one answer.
fn answer(node: &Arc<Node>, request: Request) -> Result<Reply, Refusal> {
    Ok(match request {
        Request::Status => Reply::Status(Box::new(node.status())),
        Request::Figures { of, json } => {
            let figures = refusal::find(node, &of)?.figures().ok_or(Refusal::NoFigures(of))?;
            Reply::Text(if json { figures.to_json() + "\n" } else { figures.to_string() })
        }
        Request::Restart { of, .. } if of == SERVICE => {
            let vm = node.vm().ok_or(Refusal::HostService)?;
            let took = vm.boot(None)?;
            Reply::Done(format!("the service VM is up again after {:.1} s", took.as_secs_f64()))
        }
        Request::Restart { of, image } => {
            let reason = format!("margay: {of} was restarted\n");
            let away = refusal::find(node, &of)?.restart(image, &reason)?;
            Reply::Done(format!("{of} is ready again after {:.1} ms", away.as_secs_f64() * 1e3))
        }
        Request::Stop { of } => {
            refusal::find(node, &of)?.stop(&format!("margay: {of} was stopped\n"))?;
            Reply::Done(format!("{of} is stopped"))
        }
        Request::Exec(_) | Request::Log { .. } | Request::Down { .. } => {
            unreachable!("these have answers of their own")
        }
    })
}

/// Ends the node. The process ends when the answer is on its way, and with it the connection.
fn take_down(node: &Node, stream: &UnixStream, force: bool) -> Result<(), Refusal> {
    // One whose stand-in has ended runs no more, though the node may not have seen that yet.
    let running: Vec<String> = (node.slots().iter())
        .filter_map(|slot| Some((slot, slot.busy().filter(|busy| !busy.is_ending())?)))
        .map(|(slot, busy)| format!("{} in {}", busy.describe(), slot.name()))
        .collect();
    if !running.is_empty() && !force {
        return Err(Refusal::ProgramsRun(running.join(", ")));
    }
    node.stop("margay: the node was taken down\n");
    let told = frame::write(stream, &Reply::Done(format!("node {} is down", node.name())));
    node.end();
    Ok(told?)
}

fn send_log(node: &Node, stream: &UnixStream, of: &str, follow: bool) -> Result<(), Refusal> {
    if of == SERVICE {
        return send_console(node, stream, follow);
    }
    let log: &Log = &refusal::find(node, of)?.log;
    let mut from = 0;
    loop {
        let (text, next) = log.read(from);
        // Without news this asks whether anybody still reads.
        frame::write(stream, &Reply::Text(text))?;
        from = next;
        if !follow {
            return Ok(());
        }
        log.wait(from, LOOK);
    }
}

/// Sends what the service VM's console has said.
fn send_console(node: &Node, stream: &UnixStream, follow: bool) -> Result<(), Refusal> {
    let vm = node.vm().ok_or(Refusal::HostService)?;
    let console = vm.console().ok_or_else(|| vm.gone())?;
    let (mut from, patience) = (0, if follow { LOOK } else { Duration::ZERO });
    loop {
        let output = console.follow(from, patience);
        let text = String::from_utf8_lossy(&output.bytes).replace('\r', "");
        // Without news this asks whether anybody still reads.
        frame::write(stream, &Reply::Text(text))?;
        from = output.next;
        if !follow {
            return Ok(());
        }
    }
}
