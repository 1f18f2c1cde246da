//! A proxy that is a child of this process, for `margay run`.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};

use margay_protocol::agent::Ending;

use super::stand_in::{Notice, StandIn, pidfd};

/// A proxy as a child process.
#[derive(Debug)]
pub struct ChildProxy {
    child: Child,
    /// Becomes readable when the child has ended.
    ended: OwnedFd,
}

impl ChildProxy {
    /// Takes charge of `child`.
    ///
    /// # Errors
    /// No descriptors; the child is killed.
    pub fn new(mut child: Child) -> std::io::Result<ChildProxy> {
        match pidfd(child.id()) {
            Ok(ended) => Ok(ChildProxy { child, ended }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error)
            }
        }
    }

    /// Its process id, which is also the program's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl StandIn for ChildProxy {
    fn process(&self) -> Option<OwnedFd> {
        self.ended.try_clone().ok()
    }

    fn sources(&self) -> Vec<RawFd> {
        vec![self.ended.as_raw_fd()]
    }

    fn ready(&mut self, _: RawFd) -> Notice {
        match self.child.try_wait() {
            Ok(Some(status)) => Notice::Ended(Some(ending(status))),
            Ok(None) => Notice::Nothing,
            Err(_) => Notice::Ended(None),
        }
    }

    /// A child does not ask: its node reports when it has ended.
    fn tell_place(&mut self, _: &str) {}

    /// The message is in the log, which is printed where there are children.
    fn end(&mut self, _: &str) {
        // One that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a process ended.
fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code as u8),
        (None, signal) => Ending::Signaled(signal.unwrap_or_default()),
    }
}
