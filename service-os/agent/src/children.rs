//! Processes and their ends.
//!
//! Process 1 inherits every orphan of the system and must wait for all of them; a session must learn how its own process ended, and
//! must not signal it after somebody else has waited for it, when the number may be another's. So one thread waits for
//! everything, and a lock makes "is it still ours" and "signal it" one step.

use std::collections::HashMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use margay_protocol::agent::Ending;
use nix::sys::signal::{SigSet, Signal};

use crate::error::AgentError;

/// All processes that sessions have started and that have not ended: who wants to know.
type Known = HashMap<i32, Sender<Ending>>;

/// The agent's children.
#[derive(Debug, Default)]
pub struct Children {
    known: Mutex<Known>,
}

/// A process that a session has started.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    children: Arc<Children>,
}

impl Children {
    /// Waits for children from now on. Call it before there is another thread: all must block `SIGCHLD`.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn watch() -> Result<Arc<Children>, AgentError> {
        let ended = SigSet::from(Signal::SIGCHLD);
        ended.thread_block().map_err(|errno| AgentError::Children(errno.into()))?;
        let children = Arc::new(Children::default());
        let reaper = children.clone();
        thread::Builder::new()
            .name("reaper".to_owned())
            .spawn(move || {
                loop {
                    // Several ends may raise one signal. An error could only be another signal.
                    let _ = ended.wait();
                    reaper.reap();
                }
            })
            .map_err(AgentError::Children)?;
        Ok(children)
    }

    /// Starts `command` as a child whose end will be told.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(
        self: &Arc<Children>,
        command: &mut Command,
    ) -> io::Result<(Child, Receiver<Ending>)> {
        // Held until the child is known, and while a child that could not execute is waited for by `spawn` itself.
        let mut known = self.lock();
        let pid = command.spawn()?.id() as i32;
        let (told, ended) = mpsc::channel();
        known.insert(pid, told);
        Ok((Child { pid, children: self.clone() }, ended))
    }

    /// Waits for all that have ended.
    fn reap(&self) {
        let mut known = self.lock();
        loop {
            let mut status = 0;
            // SAFETY: the pointer is to a local.
            let pid = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG) };
            // None that has ended, or none at all.
            if pid <= 0 {
                return;
            }
            let status = ExitStatus::from_raw(status);
            let ending = match (status.code(), status.signal()) {
                (_, Some(signal)) => Ending::Signaled(signal),
                (code, None) => Ending::Exited(code.unwrap_or_default() as u8),
            };
            if let Some(told) = known.remove(&pid) {
                // The session may have gone.
                let _ = told.send(ending);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Child {
    /// Its process id.
    pub const fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// Sends it `signal`. A number that is none, and a process that has ended, are nothing.
    pub fn signal(&self, signal: i32) {
        self.deliver(self.pid, signal);
    }

    /// Kills it and all of its process group, of which it is the leader.
    pub fn kill_group(&self) {
        self.deliver(-self.pid, libc::SIGKILL);
    }

    fn deliver(&self, to: i32, signal: i32) {
        let known = self.children.lock();
        if known.contains_key(&self.pid) {
            // SAFETY: takes integers. The child has not been waited for, so the number is its own; it may be a zombie, which
            // does not mind.
            unsafe { libc::kill(to, signal) };
        }
    }
}
