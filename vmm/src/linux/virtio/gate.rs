//! An open file that is waited for only while its data can be taken.
//!
//! A device names its descriptors once, and its transport waits for them by level. A descriptor with input for which the
//! driver has given no buffer would be reported for ever, so the device names an epoll descriptor with only that one in it,
//! and takes it out.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

/// A gate before one open file; closed at first.
pub(super) struct Gate {
    epoll: Epoll,
    file: File,
    open: bool,
}

impl Gate {
    /// A gate before `file`, which only the device reads.
    ///
    /// # Errors
    /// `epoll_create1`'s, and EPERM for what cannot be waited for: a regular file.
    pub fn new(file: File) -> io::Result<Gate> {
        let mut gate = Gate { epoll: Epoll::new()?, file, open: false };
        gate.set(ControlOperation::Add)?;
        gate.close();
        Ok(gate)
    }

    /// What is readable while the gate is open and the file has something to read.
    pub fn source(&self) -> RawFd {
        self.epoll.as_raw_fd()
    }

    /// What is behind the gate.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Waits for input from now on.
    pub fn open(&mut self) {
        if !self.open {
            // It worked when the gate was made; short of kernel memory, the device stays without input.
            let _ = self.set(ControlOperation::Add);
        }
    }

    /// Waits for it no more.
    pub fn close(&mut self) {
        if self.open {
            // Cannot fail for a descriptor that is in it.
            let _ = self.set(ControlOperation::Delete);
        }
    }

    fn set(&mut self, operation: ControlOperation) -> io::Result<()> {
        self.open = matches!(operation, ControlOperation::Add);
        self.epoll.ctl(operation, self.file.as_raw_fd(), EpollEvent::new(EventSet::IN, 0))
    }
}
