//! The loop of a proxy thread: wait for a request, serve it, reply.
//!
//! A server thread belongs to one LWK thread for its whole life, so that what Linux keeps for each thread (priority,
//! file-system uid, pending signals) is right.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use margay_channel::{Device, Request};

use crate::error::ProxyError;
use crate::process::Process;

/// Polls between two looks at the clock, some microseconds: a call that is answered at once does not pay for the clock.
const POLLS_PER_LOOK: u32 = 64;

/// A thread that serves one channel.
#[derive(Debug)]
pub struct Server {
    device: Device<'static>,
    doorbell: Doorbell,
    process: Process,
}

impl Server {
    /// Serves `device` for `process`.
    pub const fn new(device: Device<'static>, doorbell: Doorbell, process: Process) -> Server {
        Server { device, doorbell, process }
    }

    /// Serves until the process ends.
    ///
    /// # Errors
    /// Whatever ends the proxy before its program.
    pub fn run(mut self) -> Result<Infallible, ProxyError> {
        loop {
            let request = self.next_request()?;
            let reply = self.process.serve(&request)?;
            if self.device.complete(reply) {
                self.doorbell.wake_driver()?;
            }
        }
    }

    /// Polls for a while, then sleeps until the doorbell rings.
    #[inline]
    fn next_request(&mut self) -> Result<Request, ProxyError> {
        loop {
            if let Some(request) = self.poll_for(self.doorbell.spin)? {
                return Ok(request);
            }
            if !self.device.arm() {
                self.doorbell.sleep()?;
            }
        }
    }

    #[inline]
    fn poll_for(&mut self, spin: Duration) -> Result<Option<Request>, ProxyError> {
        let mut since = None;
        loop {
            for _ in 0..POLLS_PER_LOOK {
                if let Some(request) = self.device.poll().map_err(ProxyError::Ring)? {
                    return Ok(Some(request));
                }
            }
            if since.get_or_insert_with(Instant::now).elapsed() >= spin {
                return Ok(None);
            }
        }
    }
}

/// How a server sleeps and how it wakes its driver.
#[derive(Debug)]
pub struct Doorbell {
    kick: File,
    wake: File,
    spin: Duration,
}

impl Doorbell {
    /// `kick` blocks and becomes readable when the driver rings, `wake` interrupts the driver when it is written to. Each is an
    /// eventfd, or a stream socket, which may be the same for both. `spin` is how long to poll before a sleep.
    pub const fn new(kick: File, wake: File, spin: Duration) -> Doorbell {
        Doorbell { kick, wake, spin }
    }

    /// Sleeps until the driver has rung since the last sleep.
    #[cold]
    fn sleep(&mut self) -> Result<(), ProxyError> {
        // An eventfd gives 8 bytes; a socket any part of what was written, and none when its other end is closed.
        match self.kick.read(&mut [0; 64]) {
            Ok(0) => Err(ProxyError::Gone),
            Ok(_) => Ok(()),
            // The caller looks at the ring and comes back.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(ProxyError::Doorbell("wait for", error)),
        }
    }

    #[cold]
    fn wake_driver(&mut self) -> Result<(), ProxyError> {
        self.wake.write_all(&1_u64.to_ne_bytes()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ProxyError::Gone,
            _ => ProxyError::Doorbell("ring the guest's", error),
        })
    }
}
