//! What the rest of the VMM sees of the device: a way to connect.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::EventFd;

use super::MAX_CONNECTIONS;
use super::end::End;

/// Connects to programs in the guest. Clones are of the same guest.
#[derive(Clone)]
pub struct VsockHost {
    mailbox: Arc<Mailbox>,
}

impl VsockHost {
    pub(super) fn new(mailbox: Arc<Mailbox>) -> VsockHost {
        VsockHost { mailbox }
    }

    /// One end of a stream to what listens on `port` in the guest. Returns at once; what is written meanwhile is kept. If
    /// the guest refuses or resets the connection, has no driver ready, or restarts, the stream ends: reads give the end of
    /// the file, writes EPIPE.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn connect(&self, port: u32) -> io::Result<UnixStream> {
        let (host, device) = End::pair()?;
        if self.mailbox.post(port, device) {
            self.mailbox.bell.write(1)?;
        }
        Ok(host)
    }
}

/// Connections on their way from any thread to the device.
pub(super) struct Mailbox {
    /// Readable when something was posted.
    pub bell: EventFd,
    /// `None`: the driver is not ready, nothing is accepted.
    posted: Mutex<Option<Vec<(u32, End)>>>,
}

impl Mailbox {
    /// A closed one.
    pub fn new() -> io::Result<Mailbox> {
        Ok(Mailbox {
            bell: EventFd::new(libc::EFD_NONBLOCK | libc::EFD_CLOEXEC)?,
            posted: Mutex::new(None),
        })
    }

    /// Accepts connections from now on.
    pub fn open(&self) {
        *self.posted() = Some(Vec::new());
    }

    /// Ends what was posted, and refuses the rest.
    pub fn close(&self) {
        *self.posted() = None;
    }

    /// What was posted since.
    pub fn take(&self) -> Vec<(u32, End)> {
        // Fails only if the bell was not rung.
        let _ = self.bell.read();
        self.posted().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// `false`: refused, the end is gone.
    fn post(&self, port: u32, end: End) -> bool {
        match self.posted().as_mut() {
            Some(posted) if posted.len() < MAX_CONNECTIONS => {
                posted.push((port, end));
                true
            }
            _ => false,
        }
    }

    fn posted(&self) -> MutexGuard<'_, Option<Vec<(u32, End)>>> {
        // No code that holds the lock leaves the list half changed.
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
