//! The device: moves packets between queues and connections.

use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;

use virtio_queue::{Reader, Writer};
use vm_memory::GuestMemoryMmap;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::connections::Connections;
use super::host::{Mailbox, VsockHost};
use super::packet::{HEADER_LEN, Header, op};
use super::{GUEST_CID, MAX_PAYLOAD};
use crate::linux::virtio::device::{Activation, VirtioDevice};
use crate::linux::virtio::ring::{Chain, Ring, read_config};

/// Device type (virtio 1.2, section 5).
const DEVICE_TYPE: u32 = 19;
/// Queues (5.10.2).
const RX: usize = 0;
const TX: usize = 1;
/// Sizes of rx, tx, event. Linux fills the receive queue with buffers of 4 KiB.
const QUEUE_SIZES: [u16; 3] = [256, 256, 16];
/// The bell's name in epoll; the others are ports, of 32 bits.
const BELL: u64 = u64::MAX;
/// Events taken at a time; what is left is reported again.
const EVENTS: usize = 64;

/// A virtio-vsock device. When it is reset or dropped, all streams end.
pub struct VsockDevice {
    epoll: Epoll,
    mailbox: Arc<Mailbox>,
    connections: Connections,
    /// A payload on its way between a buffer of the guest and a socket: [`MAX_PAYLOAD`] bytes.
    payload: Box<[u8]>,
    queues: Option<Queues>,
}

struct Queues {
    rx: Ring,
    tx: Ring,
}

impl VsockDevice {
    /// A device, and what connects through it.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new() -> io::Result<(VsockDevice, VsockHost)> {
        let epoll = Epoll::new()?;
        let mailbox = Arc::new(Mailbox::new()?);
        epoll.ctl(
            ControlOperation::Add,
            mailbox.bell.as_raw_fd(),
            EpollEvent::new(EventSet::IN, BELL),
        )?;
        let host = VsockHost::new(mailbox.clone());
        let payload = vec![0; MAX_PAYLOAD].into_boxed_slice();
        let device =
            VsockDevice { epoll, mailbox, connections: Connections::new(), payload, queues: None };
        Ok((device, host))
    }

    fn take_mail(&mut self) {
        for (port, end) in self.mailbox.take() {
            // Refused: the end is gone, and its other end sees that.
            let _ = self.connections.connect(&self.epoll, port, end);
        }
    }

    /// Takes all packets of the guest. None waits for the rx queue, so neither side can block the other (5.10.6.1.1).
    fn take_packets(&mut self) {
        let Some(Queues { tx, .. }) = &mut self.queues else { return };
        let memory = tx.memory();
        while let Some(chain) = tx.pop() {
            let head = chain.head_index();
            if let Some(header) = read_packet(&memory, chain, &mut self.payload) {
                self.connections.receive(&header, &self.payload[..header.len as usize]);
            }
            tx.finish(head, 0);
        }
        tx.notify();
    }

    /// Gives the guest packets as long as there are any, and buffers.
    fn give_packets(&mut self) {
        let Some(Queues { rx, .. }) = &mut self.queues else { return };
        let memory = rx.memory();
        while self.connections.has_packets() {
            let Some(chain) = rx.pop() else { break };
            let head = chain.head_index();
            // A buffer with no room for payload is useless: it goes back empty.
            let writer =
                chain.writer(&memory).ok().filter(|writer| writer.available_bytes() > HEADER_LEN);
            let Some(writer) = writer else {
                rx.finish(head, 0);
                continue;
            };
            let room = (writer.available_bytes() - HEADER_LEN).min(self.payload.len());
            let Some(header) = self.connections.next_packet(&mut self.payload[..room]) else {
                rx.put_back();
                break;
            };
            rx.finish(head, write_packet(writer, &header, &self.payload));
        }
        rx.notify();
    }
}

/// Reads a packet, its payload to the front of `payload`. One that is shorter than it says, or longer than allowed, becomes an
/// invalid one, which costs the guest the connection. `None`: not even a header.
fn read_packet(memory: &GuestMemoryMmap, chain: Chain, payload: &mut [u8]) -> Option<Header> {
    let mut reader: Reader<'_> = chain.reader(memory).ok()?;
    let mut bytes = [0; HEADER_LEN];
    reader.read_exact(&mut bytes).ok()?;
    let header = Header::parse(&bytes);
    let read = payload.get_mut(..header.len as usize).map(|payload| reader.read_exact(payload));
    if matches!(read, Some(Ok(()))) {
        Some(header)
    } else {
        Some(Header { op: op::INVALID, len: 0, ..header })
    }
}

/// Writes a packet that fits: how many bytes it has.
fn write_packet(mut writer: Writer<'_>, header: &Header, payload: &[u8]) -> u32 {
    let payload = &payload[..header.len as usize];
    let written = writer.write_all(&header.to_bytes()).and_then(|()| writer.write_all(payload));
    debug_assert!(written.is_ok(), "the buffers' addresses and lengths were checked");
    writer.bytes_written() as u32
}

impl VirtioDevice for VsockDevice {
    fn device_type(&self) -> u32 {
        DEVICE_TYPE
    }

    /// None: streams are what a device without features has (5.10.3).
    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// `struct virtio_vsock_config` (5.10.4).
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config(&GUEST_CID.to_le_bytes(), offset, data);
    }

    fn activate(&mut self, activation: Activation) {
        // The event queue announces changes of the context id, which does not change.
        let [rx, tx, _event] = Ring::all(activation);
        self.queues = Some(Queues { rx, tx });
        self.mailbox.open();
    }

    fn reset(&mut self) {
        self.mailbox.close();
        self.connections.clear();
        self.queues = None;
    }

    fn sources(&self) -> Vec<RawFd> {
        vec![self.epoll.as_raw_fd()]
    }

    fn kicked(&mut self, index: usize) {
        match index {
            RX => self.give_packets(),
            TX => {
                self.take_packets();
                self.give_packets();
            }
            _ => {}
        }
    }

    fn ready(&mut self, _source: RawFd) {
        let mut events = [EpollEvent::default(); EVENTS];
        // An interrupted wait is repeated by the caller, who still sees the source readable.
        let count = self.epoll.wait(0, &mut events).unwrap_or(0);
        for event in &events[..count] {
            match u32::try_from(event.data()) {
                Ok(port) => self.connections.host_event(port, event.events()),
                Err(_) => self.take_mail(),
            }
        }
        self.give_packets();
    }
}

impl Drop for VsockDevice {
    fn drop(&mut self) {
        self.mailbox.close();
    }
}
