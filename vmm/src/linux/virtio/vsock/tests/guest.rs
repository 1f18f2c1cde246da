//! A guest: sends the packets that a test wants, and sees those of the device.

use std::os::unix::net::UnixStream;

use super::super::device::VsockDevice;
use super::super::host::VsockHost;
use super::super::packet::{HEADER_LEN, Header, STREAM, op};
use super::super::{GUEST_CID, HOST_CID};
use crate::linux::virtio::VirtioDevice;
use crate::linux::virtio::testing::{BUFFERS, Driver, DriverQueue, readable, writable};

pub const PORT: u32 = 5000;
/// What the guest says that it stores for a connection.
pub const WINDOW: u32 = 256 << 10;
/// Room for a packet in a receive buffer.
pub const RX_BUFFER: usize = 4096;
const RX_BUFFERS: u64 = 64;
const TX_AT: u64 = BUFFERS + (1 << 20);

pub struct Guest {
    pub device: VsockDevice,
    pub host: VsockHost,
    pub driver: Driver,
    pub rx: DriverQueue,
    pub tx: DriverQueue,
    next_buffer: u64,
    /// Heads of receive buffers in flight and where they are.
    posted: Vec<(u16, u64)>,
}

impl Guest {
    /// A guest with its driver ready and no receive buffer.
    pub fn without_buffers() -> Guest {
        let (mut device, host) = VsockDevice::new().unwrap();
        let (driver, queues) = Driver::start(&mut device);
        let Ok([rx, tx, _event]) = <[DriverQueue; 3]>::try_from(queues) else {
            panic!("three queues")
        };
        Guest { device, host, driver, rx, tx, next_buffer: 0, posted: Vec::new() }
    }

    /// One with many.
    pub fn new() -> Guest {
        let mut guest = Guest::without_buffers();
        guest.post(RX_BUFFERS as usize);
        guest
    }

    /// Gives the device receive buffers, as Linux does: a piece for the header, one for data.
    pub fn post(&mut self, count: usize) {
        for _ in 0..count {
            let at = BUFFERS + 0x2000 * (self.next_buffer % RX_BUFFERS);
            self.next_buffer += 1;
            let pieces = [writable(at, HEADER_LEN), writable(at + HEADER_LEN as u64, RX_BUFFER)];
            let head = self.rx.add(&pieces);
            self.posted.push((head, at));
        }
        self.device.kicked(0);
    }

    /// Lets the device see what happened on the host.
    pub fn turn(&mut self) {
        let source = self.device.sources()[0];
        self.device.ready(source);
    }

    /// The packets that the device has sent. Their buffers are not given back.
    pub fn received(&mut self) -> Vec<(Header, Vec<u8>)> {
        let mut packets = Vec::new();
        while let Some((head, len)) = self.rx.used() {
            let index = self.posted.iter().position(|(posted, _)| *posted == head).unwrap();
            let (_, at) = self.posted.remove(index);
            let bytes = self.driver.read(at, len as usize);
            let (header, payload) = bytes.split_first_chunk().unwrap();
            let header = Header::parse(header);
            assert_eq!(header.len as usize, payload.len());
            assert_eq!((header.src_cid, header.dst_cid), (HOST_CID, GUEST_CID));
            packets.push((header, payload.to_vec()));
        }
        packets
    }

    /// The one packet that the device has sent; its buffer is given back.
    pub fn one(&mut self) -> Header {
        self.turn();
        let packets = self.received();
        assert_eq!(packets.len(), 1, "{packets:x?}");
        self.post(1);
        packets[0].0
    }

    /// The device has nothing to say.
    pub fn nothing(&mut self) {
        self.turn();
        assert_eq!(self.received(), []);
    }

    /// The device sends only packets of this kind.
    pub fn nothing_but(&mut self, op: u16) {
        self.turn();
        assert!(self.received().iter().all(|(header, _)| header.op == op));
    }

    /// Sends a packet.
    pub fn send(&mut self, header: Header, payload: &[u8]) {
        self.driver.write(TX_AT, &header.to_bytes());
        self.driver.write(TX_AT + 0x1000, payload);
        let mut pieces = vec![readable(TX_AT, HEADER_LEN)];
        if !payload.is_empty() {
            pieces.push(readable(TX_AT + 0x1000, payload.len()));
        }
        let head = self.tx.add(&pieces);
        self.device.kicked(1);
        assert_eq!(self.tx.used(), Some((head, 0)), "the device keeps no packets");
    }

    /// Connects from the host: the stream, and the connection as the guest sees it.
    pub fn connected(&mut self) -> (UnixStream, Peer) {
        let stream = self.host.connect(PORT).unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let request = self.one();
        assert_eq!(
            (request.op, request.kind, request.dst_port, request.len),
            (op::REQUEST, STREAM, PORT, 0)
        );
        let peer = Peer { port: request.src_port, buf_alloc: WINDOW, fwd_cnt: 0 };
        self.send(peer.packet(op::RESPONSE), &[]);
        (stream, peer)
    }

    /// Sends data in packets of the connection.
    pub fn data(&mut self, peer: &Peer, bytes: &[u8]) {
        for part in bytes.chunks(32 << 10) {
            self.send(Header { len: part.len() as u32, ..peer.packet(op::RW) }, part);
        }
    }
}

/// A connection as the guest sees it.
#[derive(Clone, Copy)]
pub struct Peer {
    /// The host's port.
    pub port: u32,
    pub buf_alloc: u32,
    pub fwd_cnt: u32,
}

impl Peer {
    /// A packet of the guest.
    pub fn packet(&self, op: u16) -> Header {
        Header {
            src_cid: GUEST_CID,
            dst_cid: HOST_CID,
            src_port: PORT,
            dst_port: self.port,
            kind: STREAM,
            op,
            buf_alloc: self.buf_alloc,
            fwd_cnt: self.fwd_cnt,
            ..Header::default()
        }
    }

    /// The same with flags.
    pub fn shutdown(&self, flags: u32) -> Header {
        Header { flags, ..self.packet(op::SHUTDOWN) }
    }
}

/// `stream` ends after `bytes`.
pub fn ends_after(stream: &mut UnixStream, bytes: &[u8]) {
    let mut read = Vec::new();
    std::io::Read::read_to_end(stream, &mut read).unwrap();
    assert_eq!(read, bytes);
}
