//! All connections, and in which order they send.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::AsRawFd;

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::connection::{Connection, Outcome};
use super::end::End;
use super::packet::{Header, STREAM, op};
use super::{GUEST_CID, HOST_CID, MAX_CONNECTIONS};

/// The first port of the host's side: far from those that mean something.
const FIRST_PORT: u32 = 1 << 30;
/// The most resets that wait for buffers. A guest that provokes more without giving buffers is not told of the rest.
const MAX_RESETS: usize = MAX_CONNECTIONS;

/// Every connection has a port of the host for itself, which is its name here and in epoll.
pub(super) struct Connections {
    by_port: HashMap<u32, Connection>,
    next_port: u32,
    /// Those with something to send, each once, the longest waiting first: one packet each.
    turns: VecDeque<u32>,
    resets: VecDeque<Header>,
}

impl Connections {
    /// None yet.
    pub fn new() -> Connections {
        Connections {
            by_port: HashMap::new(),
            next_port: FIRST_PORT,
            turns: VecDeque::new(),
            resets: VecDeque::new(),
        }
    }

    /// Begins to connect `end` with the guest's port, and waits for the end with `epoll`.
    ///
    /// # Errors
    /// The end is refused: too many connections, or epoll's errors.
    pub fn connect(&mut self, epoll: &Epoll, guest_port: u32, end: End) -> io::Result<()> {
        if self.by_port.len() >= MAX_CONNECTIONS {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let port = self.free_port();
        // By edge: an end that has data while the guest has no room would otherwise be reported for ever.
        let events =
            EventSet::IN | EventSet::OUT | EventSet::READ_HANG_UP | EventSet::EDGE_TRIGGERED;
        epoll.ctl(ControlOperation::Add, end.as_raw_fd(), EpollEvent::new(events, port.into()))?;
        self.by_port.insert(port, Connection::new(end, port, guest_port));
        self.settle(port, guest_port, Outcome::Goes);
        Ok(())
    }

    fn free_port(&mut self) -> u32 {
        loop {
            let port = self.next_port;
            self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
            if !self.by_port.contains_key(&port) {
                return port;
            }
        }
    }

    /// `events` of epoll for the connection of a port of the host; it may have gone meanwhile.
    pub fn host_event(&mut self, port: u32, events: u32) {
        let Some(connection) = self.by_port.get_mut(&port) else { return };
        let outcome = connection.host_event(events);
        let guest_port = connection.guest_port();
        self.settle(port, guest_port, outcome);
    }

    /// A packet of the guest, with as much payload as its header says.
    pub fn receive(&mut self, header: &Header, payload: &[u8]) {
        if header.src_cid != GUEST_CID {
            // Nobody there to answer (5.10.6.1: a source other than the guest's is invalid).
            return;
        }
        let known = header.dst_cid == HOST_CID && header.kind == STREAM;
        let connection = self.by_port.get_mut(&header.dst_port);
        match connection.filter(|connection| known && connection.is_with(header.src_port)) {
            Some(connection) => {
                let outcome = connection.receive(header, payload);
                self.settle(header.dst_port, header.src_port, outcome);
            }
            None if header.op == op::RST => {}
            None => self.reset(header.reset()),
        }
    }

    /// Whether [`Connections::next_packet`] may give one.
    pub fn has_packets(&self) -> bool {
        !self.resets.is_empty() || !self.turns.is_empty()
    }

    /// The next packet to the guest, its payload in `buffer`, which is not empty.
    pub fn next_packet(&mut self, buffer: &mut [u8]) -> Option<Header> {
        if let Some(reset) = self.resets.pop_front() {
            return Some(reset);
        }
        while let Some(port) = self.turns.pop_front() {
            let Some(connection) = self.by_port.get_mut(&port) else { continue };
            connection.in_turn = false;
            let packet = connection.next_packet(buffer);
            let guest_port = connection.guest_port();
            self.settle(port, guest_port, Outcome::Goes);
            if packet.is_some() {
                return packet;
            }
        }
        None
    }

    /// Ends all, without a word to the guest.
    pub fn clear(&mut self) {
        self.by_port.clear();
        self.turns.clear();
        self.resets.clear();
    }

    /// Does what follows from a change: tells the guest, forgets what is over, queues what has something to send.
    fn settle(&mut self, port: u32, guest_port: u32, outcome: Outcome) {
        if outcome == Outcome::Reset {
            self.reset(Header::to_guest(port, guest_port, op::RST));
        }
        let Some(connection) = self.by_port.get_mut(&port) else { return };
        if connection.is_over() {
            if connection.in_turn {
                self.turns.retain(|turn| *turn != port);
            }
            self.by_port.remove(&port);
        } else if connection.wants_turn() && !connection.in_turn {
            connection.in_turn = true;
            self.turns.push_back(port);
        }
    }

    fn reset(&mut self, header: Header) {
        if self.resets.len() < MAX_RESETS {
            self.resets.push_back(header);
        }
    }
}
