use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use proptest::prelude::*;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::*;
use crate::linux::virtio::testing::{
    BUFFERS, Driver, DriverQueue, MEMORY, NEXT, Piece, readable, writable,
};

/// A device on one end of a pair of sockets that keep frames apart, as a tap interface does.
struct Net {
    device: NetDevice,
    wire: UnixDatagram,
    driver: Driver,
    queues: Vec<DriverQueue>,
}

impl Net {
    fn new() -> Net {
        let (wire, tap) = UnixDatagram::pair().unwrap();
        tap.set_nonblocking(true).unwrap();
        wire.set_nonblocking(true).unwrap();
        let tap = Tap::from_file(File::from(OwnedFd::from(tap)));
        let mut device = NetDevice::new(tap, "02:00:00:00:00:01".parse().unwrap()).unwrap();
        let (driver, queues) = Driver::start(&mut device);
        Net { device, wire, driver, queues }
    }

    /// Whether a transport would be woken now.
    fn wakes(&self) -> bool {
        let epoll = Epoll::new().unwrap();
        epoll
            .ctl(ControlOperation::Add, self.device.sources()[0], EpollEvent::new(EventSet::IN, 0))
            .unwrap();
        epoll.wait(0, &mut [EpollEvent::default()]).unwrap() == 1
    }

    fn ready(&mut self) {
        let source = self.device.sources()[0];
        self.device.ready(source);
    }

    fn sent(&self) -> Option<Vec<u8>> {
        let mut frame = vec![0; FRAME_MAX];
        let len = self.wire.recv(&mut frame).ok()?;
        frame.truncate(len);
        Some(frame)
    }
}

#[test]
fn the_configuration_is_the_address() {
    let net = Net::new();
    let mut config = [0xff; 8];
    net.device.read_config(0, &mut config);
    assert_eq!(config, [2, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn frames_of_the_guest_go_out_without_its_headers_wishes() {
    let mut net = Net::new();
    net.driver.write(BUFFERS, &[0xff; HEADER_LEN]);
    net.driver.write(BUFFERS + 0x100, b"a frame");
    net.queues[TX].add(&[readable(BUFFERS, HEADER_LEN), readable(BUFFERS + 0x100, 7)]);
    net.device.kicked(TX);
    assert_eq!(net.sent().unwrap(), [&[0; HEADER_LEN], b"a frame".as_slice()].concat());
    assert_eq!(net.queues[TX].used(), Some((0, 0)));
    assert_eq!(net.driver.interrupts.take(TX), 1);
}

#[test]
fn what_is_no_frame_is_not_sent_and_goes_back() {
    let mut net = Net::new();
    let chains: [&[Piece]; 5] = [
        &[readable(BUFFERS, HEADER_LEN)],
        &[readable(BUFFERS, FRAME_MAX + 1)],
        &[writable(BUFFERS, 100)],
        &[readable(MEMORY as u64 - 50, 100)],
        &[Piece { at: BUFFERS, len: u32::MAX, flags: 0 }],
    ];
    for chain in chains {
        net.queues[TX].add(chain);
    }
    net.queues[TX].descriptor(100, Piece { at: BUFFERS, len: 4096, flags: NEXT }, 100);
    net.queues[TX].offer(100);
    net.device.kicked(TX);
    assert_eq!(std::iter::from_fn(|| net.queues[TX].used()).count(), 6);
    assert_eq!(net.sent(), None);
}

#[test]
fn frames_for_the_guest_wait_for_buffers_without_waking_anybody() {
    let mut net = Net::new();
    let frame = [&[0xee; HEADER_LEN], b"for the guest".as_slice()].concat();
    net.wire.send(&frame).unwrap();
    net.wire.send(&frame).unwrap();
    assert!(net.wakes());
    net.ready();
    assert!(!net.wakes(), "no buffer");
    net.queues[RX].add(&[writable(BUFFERS, HEADER_LEN), writable(BUFFERS + 0x100, 1514)]);
    net.device.kicked(RX);
    assert!(net.wakes());
    net.ready();
    assert_eq!(net.queues[RX].used(), Some((0, frame.len() as u32)));
    let mut header = [0; HEADER_LEN];
    header[10] = 1;
    assert_eq!(net.driver.read(BUFFERS, HEADER_LEN), header);
    assert_eq!(net.driver.read(BUFFERS + 0x100, 13), b"for the guest");
    assert_eq!(net.driver.interrupts.take(RX), 1);
    assert!(!net.wakes(), "one frame is left, and no buffer");
    net.device.reset();
    net.device.kicked(RX);
    assert!(!net.wakes(), "no driver");
    net.ready();
}

#[test]
fn a_frame_that_does_not_fit_is_lost_and_the_next_takes_the_buffer() {
    let mut net = Net::new();
    net.wire.send(&[1; HEADER_LEN + 200]).unwrap();
    net.wire.send(&[2; HEADER_LEN + 5]).unwrap();
    net.queues[RX].add(&[writable(BUFFERS, HEADER_LEN + 100)]);
    net.queues[RX].add(&[writable(BUFFERS + 0x1000, HEADER_LEN + 100)]);
    net.device.kicked(RX);
    net.ready();
    assert_eq!(net.queues[RX].used(), Some((0, HEADER_LEN as u32 + 5)));
    assert_eq!(net.queues[RX].used(), None);
    assert_eq!(net.driver.read(BUFFERS + HEADER_LEN as u64, 5), [2; 5]);
}

#[test]
fn an_interface_that_is_not_there_is_said_and_not_made() {
    for name in ["no-such-tap0", "", "far-too-long-for-an-interface", "nul\0"] {
        assert!(matches!(Tap::open(name), Err(NetError::NoInterface(said)) if said == name));
    }
    // The loopback interface is no tap; where there is no tun at all, that is the answer.
    assert!(Tap::open("lo").is_err());
}

proptest! {
    /// Whatever is in the descriptors: no panic, and every chain comes back.
    #[test]
    fn random_chains_do_no_harm(
        descriptors in proptest::collection::vec((BUFFERS..MEMORY as u64 + 64, any::<u32>(), 0u16..8, 0u16..20), 16),
        heads in proptest::collection::vec(0u16..16, 1..8),
        frame in proptest::collection::vec(any::<u8>(), 1..200),
    ) {
        let mut net = Net::new();
        for (index, (at, len, flags, next)) in descriptors.iter().enumerate() {
            for queue in &net.queues {
                queue.descriptor(index as u16, Piece { at: *at, len: len % 5000, flags: *flags }, *next);
            }
        }
        for head in &heads {
            net.wire.send(&frame).unwrap();
            net.queues[TX].offer(*head);
            net.queues[RX].offer(*head);
        }
        net.device.kicked(TX);
        net.ready();
        prop_assert_eq!(std::iter::from_fn(|| net.queues[TX].used()).count(), heads.len());
    }
}
