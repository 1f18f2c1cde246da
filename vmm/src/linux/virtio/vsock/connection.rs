//! One connection: its two directions, and what is due to be said to the guest.
//!
//! ```text
//!  REQUESTED --RESPONSE--> OPEN --RST, full SHUTDOWN, misbehaviour--> DRAINING --all stored bytes written--> gone
//!       +---------------------RST, host end closed-----------------------^
//! ```

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::mem::take;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};

use super::BUF_ALLOC;
use super::credit::{Receiving, Sending};
use super::end::End;
use super::packet::{Header, op, shutdown};

/// What became of a connection by a packet.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Outcome {
    /// It goes on.
    Goes,
    /// It is over, and the guest knows.
    Ended,
    /// It is over, and the guest is to be told by a reset.
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The guest was asked, or is about to be.
    Requested,
    Open,
    /// Over for the guest; stored bytes still go to the host.
    Draining,
}

/// The host end, as last seen.
#[derive(Debug)]
struct Host {
    /// A read may give something: true until one would have blocked, then again from epoll's next edge on.
    readable: bool,
    /// A write may take something; likewise.
    writable: bool,
    /// It sends no more: the end of its data was read.
    silent: bool,
    /// It receives no more.
    deaf: bool,
}

/// The guest, by its packets.
#[derive(Debug, Default)]
struct Guest {
    /// It sends no more.
    silent: bool,
    /// It receives no more.
    deaf: bool,
}

/// Packets to be sent as soon as there is a buffer.
#[derive(Debug, Default)]
struct Due {
    request: bool,
    credit_update: bool,
    credit_request: bool,
    shutdown: bool,
}

/// A connection between an end of a socket pair and a port of the guest.
#[derive(Debug)]
pub(super) struct Connection {
    end: End,
    host_port: u32,
    guest_port: u32,
    phase: Phase,
    host: Host,
    guest: Guest,
    due: Due,
    /// [`shutdown`] flags that the guest is told.
    told: u32,
    /// Bytes from the guest that the host end did not take yet: at most [`BUF_ALLOC`].
    stored: VecDeque<u8>,
    receiving: Receiving,
    sending: Sending,
    /// The guest was asked for credit, and gave none yet.
    asked: bool,
    /// It is in the queue of connections with something to send.
    pub in_turn: bool,
}

impl Connection {
    /// A connection that the guest is to be asked for.
    pub fn new(end: End, host_port: u32, guest_port: u32) -> Connection {
        Connection {
            end,
            host_port,
            guest_port,
            phase: Phase::Requested,
            host: Host { readable: true, writable: true, silent: false, deaf: false },
            guest: Guest::default(),
            due: Due { request: true, ..Due::default() },
            told: 0,
            stored: VecDeque::new(),
            receiving: Receiving::default(),
            sending: Sending::default(),
            asked: false,
            in_turn: false,
        }
    }

    /// Whether a packet is for this connection.
    pub fn is_with(&self, guest_port: u32) -> bool {
        self.guest_port == guest_port && self.phase != Phase::Draining
    }

    /// The port that the guest listens on.
    pub fn guest_port(&self) -> u32 {
        self.guest_port
    }

    /// The host end has changed: `events` of epoll.
    pub fn host_event(&mut self, events: u32) -> Outcome {
        let has = |flags: i32| events & flags as u32 != 0;
        let hung_up = has(libc::EPOLLHUP | libc::EPOLLERR);
        self.host.readable |= hung_up || has(libc::EPOLLIN | libc::EPOLLRDHUP);
        self.host.writable |= has(libc::EPOLLOUT);
        if hung_up {
            if self.phase == Phase::Requested {
                return self.give_up();
            }
            self.host_is_deaf();
        }
        self.write_stored();
        Outcome::Goes
    }

    /// Nobody waits for the guest's answer any more.
    fn give_up(&mut self) -> Outcome {
        let asked = !self.due.request;
        self.drain();
        if asked { Outcome::Reset } else { Outcome::Ended }
    }

    /// A packet of the guest.
    pub fn receive(&mut self, header: &Header, payload: &[u8]) -> Outcome {
        self.sending.update(header.buf_alloc, header.fwd_cnt);
        self.asked &= self.sending.free() == 0;
        let outcome = match (self.phase, header.op) {
            (_, op::RST) => Outcome::Ended,
            (Phase::Requested, op::RESPONSE) if !self.due.request => {
                self.phase = Phase::Open;
                Outcome::Goes
            }
            (Phase::Open, op::RW) => self.data(payload),
            (Phase::Open, op::SHUTDOWN) => self.guest_shutdown(header.flags),
            (Phase::Open, op::CREDIT_UPDATE) => Outcome::Goes,
            (Phase::Open, op::CREDIT_REQUEST) => {
                self.due.credit_update = true;
                Outcome::Goes
            }
            _ => Outcome::Reset,
        };
        if outcome != Outcome::Goes {
            self.drain();
        }
        outcome
    }

    fn data(&mut self, payload: &[u8]) -> Outcome {
        if self.guest.silent || !self.receiving.receive(payload.len()) {
            return Outcome::Reset;
        }
        if self.host.deaf {
            // The guest was told, perhaps after it sent this.
            self.receiving.forward(payload.len());
        } else {
            let written = if self.stored.is_empty() { self.write(payload) } else { 0 };
            self.receiving.forward(written);
            self.stored.extend(&payload[written..]);
        }
        self.write_stored();
        Outcome::Goes
    }

    fn guest_shutdown(&mut self, flags: u32) -> Outcome {
        self.guest.silent |= flags & shutdown::SEND != 0;
        self.guest.deaf |= flags & shutdown::RECEIVE != 0;
        if self.guest.silent && self.guest.deaf {
            // The guest's socket is closed, and waits for this (5.10.6.5).
            return Outcome::Reset;
        }
        if self.guest.deaf {
            self.end.shutdown(Shutdown::Read);
        }
        self.write_stored();
        Outcome::Goes
    }

    /// Writes what the host end takes, and passes on the guest's end of data behind the last byte.
    fn write_stored(&mut self) {
        let mut stored = take(&mut self.stored);
        while !stored.is_empty() && self.host.writable {
            let written = self.write(stored.as_slices().0);
            stored.drain(..written);
            self.receiving.forward(written);
        }
        self.stored = stored;
        if self.host.deaf {
            self.receiving.forward(self.stored.len());
            self.stored.clear();
        }
        if self.stored.is_empty() {
            // Memory is for those who wait.
            self.stored.shrink_to_fit();
            if self.guest.silent {
                self.end.shutdown(Shutdown::Write);
            }
        }
        self.due.credit_update |= self.receiving.update_due();
    }

    /// Writes to the host end: how much it took.
    fn write(&mut self, bytes: &[u8]) -> usize {
        if bytes.is_empty() || !self.host.writable {
            return 0;
        }
        match self.end.write(bytes) {
            Ok(written) => return written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.host.writable = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.host_is_deaf(),
        }
        0
    }

    fn host_is_deaf(&mut self) {
        self.host.deaf = true;
        self.host.writable = false;
        self.tell(shutdown::RECEIVE);
    }

    fn tell(&mut self, flags: u32) {
        self.due.shutdown |= self.told | flags != self.told;
        self.told |= flags;
    }

    /// Over for the guest.
    fn drain(&mut self) {
        self.phase = Phase::Draining;
        self.guest = Guest { silent: true, deaf: true };
        self.due = Due::default();
        self.write_stored();
        self.due = Due::default();
    }

    /// Nothing is left to do.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Draining && self.stored.is_empty()
    }

    /// Whether [`Connection::next_packet`] may give one.
    pub fn wants_turn(&mut self) -> bool {
        match self.phase {
            Phase::Requested => self.due.request,
            Phase::Draining => false,
            Phase::Open => {
                let reads = self.wants_to_read();
                if reads && self.sending.free() == 0 && !self.asked {
                    self.asked = true;
                    self.due.credit_request = true;
                }
                let Due { request: _, credit_update, credit_request, shutdown } = self.due;
                credit_update || credit_request || shutdown || (reads && self.sending.free() > 0)
            }
        }
    }

    fn wants_to_read(&self) -> bool {
        self.host.readable && !self.host.silent && !self.guest.deaf
    }

    /// The next packet to the guest; its payload is in `buffer`, as long as the header says. `buffer` is not empty.
    pub fn next_packet(&mut self, buffer: &mut [u8]) -> Option<Header> {
        let (op, len) = match self.phase {
            Phase::Draining => return None,
            Phase::Requested if take(&mut self.due.request) => (op::REQUEST, 0),
            Phase::Requested => return None,
            Phase::Open if take(&mut self.due.credit_request) => (op::CREDIT_REQUEST, 0),
            Phase::Open if take(&mut self.due.credit_update) => (op::CREDIT_UPDATE, 0),
            Phase::Open if take(&mut self.due.shutdown) => (op::SHUTDOWN, 0),
            Phase::Open => self.read(buffer)?,
        };
        // Every packet carries the news that an update would.
        self.due.credit_update = false;
        let flags = if op == op::SHUTDOWN { self.told } else { 0 };
        let fwd_cnt = self.receiving.announce();
        let header = Header::to_guest(self.host_port, self.guest_port, op);
        Some(Header { len: len as u32, flags, buf_alloc: BUF_ALLOC, fwd_cnt, ..header })
    }

    /// Reads from the host end what the guest has room for: data, or the end of it.
    fn read(&mut self, buffer: &mut [u8]) -> Option<(u16, usize)> {
        let room = buffer.len().min(self.sending.free());
        if room == 0 || !self.wants_to_read() {
            return None;
        }
        match self.end.read(&mut buffer[..room]) {
            Ok(len @ 1..) => {
                self.sending.send(len);
                return Some((op::RW, len));
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.host.readable = false;
                return None;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return None,
            // An error is the end as well: the host end was closed with bytes of the guest unread.
            Ok(0) | Err(_) => {}
        }
        self.host.silent = true;
        self.told |= shutdown::SEND;
        Some((op::SHUTDOWN, 0))
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.end.as_raw_fd()
    }
}
