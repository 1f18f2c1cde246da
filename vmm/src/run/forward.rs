//! Passing this process's signals on to the programs.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use margay_protocol::frame;

use crate::control::message::FromRelay;
use crate::node::stand_in::send_signal;

/// The proxies that signals go to.
///
/// A proxy has its program's dispositions: it ignores what the program ignores, and else dies, which ends the program.
#[derive(Debug, Default)]
pub struct Forwarder(Mutex<State>);

/// How a proxy is reached.
#[derive(Debug)]
pub enum Target {
    /// A process of this host, by its pidfd.
    Process(OwnedFd),
    /// A session of this node, by the command's end of its connection.
    Relay(UnixStream),
}

impl Target {
    fn send(&self, signal: i32) {
        match self {
            Target::Process(process) => send_signal(process, signal),
            // A session that is over needs none.
            Target::Relay(session) => drop(frame::write(session, &FromRelay::Signal(signal))),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    targets: Vec<Target>,
    /// All signals so far, for proxies that are still to come.
    sent: Vec<i32>,
}

impl Forwarder {
    /// Sends `signal` to all proxies, present and to come. One that has ended needs none.
    pub fn send(&self, signal: i32) {
        let mut state = self.lock();
        state.targets.iter().for_each(|target| target.send(signal));
        state.sent.push(signal);
    }

    /// Adds a proxy.
    pub fn add(&self, target: Target) {
        let mut state = self.lock();
        state.sent.iter().for_each(|&signal| target.send(signal));
        state.targets.push(target);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
