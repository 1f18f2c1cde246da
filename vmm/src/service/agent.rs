//! Talking to the agent in the service VM.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use margay_protocol::agent::{Control, ControlReply, Hello, PORT};
use margay_protocol::frame;

use crate::linux::VcpuLocation;
use crate::linux::virtio::VsockHost;
use crate::node::{MESSAGE_LIMIT, poll};

/// Makes a connection and says what it is for.
pub(super) fn connect(host: &VsockHost, hello: &Hello) -> io::Result<UnixStream> {
    let stream = host.connect(PORT)?;
    frame::write(&stream, hello)?;
    Ok(stream)
}

/// Whether the agent answers a ping within `patience`; then its connection.
pub(super) fn try_ping(host: &VsockHost, patience: Duration) -> Option<UnixStream> {
    let stream = connect(host, &Hello::Control).ok()?;
    frame::write(&stream, &Control::Ping(0)).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    let ControlReply::Pong(_) = frame::read(&stream).ok()?;
    stream.set_read_timeout(Some(MESSAGE_LIMIT)).ok()?;
    Some(stream)
}

/// Tells the agent to switch its machine off, and returns the connection on which the order is under way.
pub(super) fn power_off(host: &VsockHost) -> io::Result<UnixStream> {
    let stream = connect(host, &Hello::Control)?;
    frame::write(&stream, &Control::PowerOff)?;
    Ok(stream)
}

/// Pings, at most one of them without its answer.
pub(super) struct Heartbeat {
    control: UnixStream,
    pings: u64,
    waiting: bool,
}

impl Heartbeat {
    /// Over a control connection that has just answered.
    pub(super) fn new(control: UnixStream) -> Heartbeat {
        Heartbeat { control, pings: 0, waiting: false }
    }

    /// Whether an answer has come since the last beat. Sends the next ping unless one is under way.
    pub(super) fn beat(&mut self) -> bool {
        let answered = self.waiting && self.take_answer();
        if answered || !self.waiting {
            self.pings += 1;
            // A connection that is gone does not answer.
            let _ = frame::write(&self.control, &Control::Ping(self.pings));
            self.waiting = true;
        }
        answered
    }

    /// Whether the answer to the last ping is there.
    fn take_answer(&self) -> bool {
        !poll::readable(&[self.control.as_raw_fd()], Duration::ZERO).is_empty()
            && frame::read(&self.control)
                .is_ok_and(|ControlReply::Pong(number)| number == self.pings)
    }
}

/// Where processors are, in whole lines.
pub(super) fn describe(locations: &[VcpuLocation]) -> String {
    let line = |location: &VcpuLocation| match &location.place {
        Some(place) => format!(
            "  vCPU {} on core {}: rip {:#x}, rsp {:#x}, {:?}, {:?}\n",
            location.index, location.core, place.rip, place.rsp, place.mode, place.activity
        ),
        None => format!("  vCPU {} on core {}: does not answer\n", location.index, location.core),
    };
    locations.iter().map(line).collect()
}
