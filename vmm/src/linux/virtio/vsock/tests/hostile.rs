//! A guest that does what no driver does.

use std::io::Write;

use proptest::prelude::*;

use super::super::packet::{HEADER_LEN, Header, op};
use super::super::{BUF_ALLOC, HOST_CID, MAX_PAYLOAD};
use super::guest::{Guest, PORT, ends_after};
use crate::linux::virtio::VirtioDevice;
use crate::linux::virtio::testing::{
    BUFFERS, INDIRECT, MEMORY, NEXT, Piece, WRITE, readable, writable,
};

const AT: u64 = BUFFERS + (2 << 20);

#[test]
fn packets_of_the_wrong_length_cost_the_connection_or_nothing() {
    for len in [1, 4097, MAX_PAYLOAD as u32 + 1, u32::MAX] {
        let mut guest = Guest::new();
        let (mut stream, peer) = guest.connected();
        guest.send(Header { len, ..peer.packet(op::RW) }, &[]);
        assert_eq!(guest.one().op, op::RST);
        ends_after(&mut stream, b"");
    }
    let mut guest = Guest::new();
    for pieces in [
        &[readable(AT, HEADER_LEN - 1)][..],
        &[writable(AT, HEADER_LEN)],
        &[readable(MEMORY as u64 - 4, 64)],
    ] {
        guest.tx.add(pieces);
        guest.device.kicked(1);
        assert!(guest.tx.used().is_some());
    }
    guest.nothing();
    let (_stream, _peer) = guest.connected();
}

#[test]
fn chains_that_never_end_or_point_outside_end() {
    let mut guest = Guest::new();
    let whole = |flags| Piece { at: 0, len: u32::MAX, flags };
    guest.tx.descriptor(0, Piece { at: AT, len: 4096, flags: NEXT }, 0);
    guest.tx.offer(0);
    guest.tx.descriptor(1, whole(NEXT), 2);
    guest.tx.descriptor(2, whole(NEXT), 1);
    guest.tx.offer(1);
    guest.tx.descriptor(3, Piece { at: AT, len: 32, flags: INDIRECT }, 0);
    guest.tx.offer(3);
    guest.tx.offer(60_000);
    guest.device.kicked(1);
    let used: Vec<_> = std::iter::from_fn(|| guest.tx.used()).collect();
    assert_eq!(used, [(0, 0), (1, 0), (3, 0)], "a head outside of the table cannot be returned");
}

#[test]
fn receive_buffers_that_are_too_small_go_back_and_the_packet_waits() {
    let mut guest = Guest::without_buffers();
    let _stream = guest.host.connect(PORT).unwrap();
    guest.turn();
    let heads = [
        guest.rx.add(&[writable(AT, HEADER_LEN)]),
        guest.rx.add(&[readable(AT, 4096)]),
        guest.rx.add(&[Piece { at: u64::MAX - 8, len: 4096, flags: WRITE }]),
    ];
    guest.device.kicked(0);
    for head in heads {
        assert_eq!(guest.rx.used(), Some((head, 0)));
    }
    guest.post(1);
    assert_eq!(guest.received()[0].0.op, op::REQUEST);
}

#[test]
fn unknown_kinds_and_contexts_are_refused_and_strangers_ignored() {
    let mut guest = Guest::new();
    let (_stream, peer) = guest.connected();
    guest.send(Header { kind: 2, ..peer.packet(op::RW) }, &[]);
    let reset = guest.one();
    assert_eq!((reset.op, reset.kind), (op::RST, 2));
    guest.send(Header { src_cid: 9, ..peer.packet(op::RST) }, &[]);
    guest.nothing();
    guest.send(Header { dst_port: peer.port + 1, ..peer.packet(op::RW) }, &[]);
    assert_eq!(guest.one().op, op::RST);
    guest.send(Header { op: 99, ..peer.packet(op::RW) }, &[]);
    assert_eq!(guest.one().op, op::RST);
}

#[test]
fn an_answer_to_a_request_that_was_not_sent_is_refused() {
    let mut guest = Guest::without_buffers();
    let mut stream = guest.host.connect(PORT).unwrap();
    guest.turn();
    let peer = super::guest::Peer { port: 1 << 30, buf_alloc: 4096, fwd_cnt: 0 };
    guest.send(peer.packet(op::RESPONSE), &[]);
    ends_after(&mut stream, b"");
}

/// What a random run does.
#[derive(Debug, Clone)]
enum Step {
    Packet { op: u16, flags: u32, len: usize, claim: u32, buf_alloc: u32, fwd_cnt: u32, to: u8 },
    Connect,
    Write(usize),
    Close,
    Post(usize),
    Turn,
}

fn step() -> impl Strategy<Value = Step> {
    let packet = (0u16..9, 0u32..5, 0usize..3000, 0u32..8, any::<u32>(), 0u32..4000, 0u8..6);
    prop_oneof![
        8 => packet.prop_map(|(op, flags, len, odd, buf_alloc, fwd_cnt, to)| {
            let claim = if odd == 0 { buf_alloc } else { len as u32 };
            Step::Packet { op, flags, len, claim, buf_alloc, fwd_cnt, to }
        }),
        2 => Just(Step::Connect),
        2 => (0usize..9000).prop_map(Step::Write),
        1 => Just(Step::Close),
        2 => (0usize..8).prop_map(Step::Post),
        3 => Just(Step::Turn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever packets come: no panic, and every packet of the device is one that the guest has room for.
    #[test]
    fn random_packets_do_no_harm(steps in proptest::collection::vec(step(), 1..80)) {
        let mut guest = Guest::new();
        let mut streams = Vec::new();
        let mut posted = 64;
        for step in steps {
            match step {
                Step::Packet { op, flags, len, claim, buf_alloc, fwd_cnt, to } => {
                    let peer = super::guest::Peer { port: (1 << 30) + u32::from(to), buf_alloc, fwd_cnt };
                    let header = Header { flags, len: claim, ..peer.packet(op) };
                    guest.send(header, &vec![1; len]);
                }
                Step::Connect => streams.push(guest.host.connect(PORT).unwrap()),
                Step::Write(len) => if let Some(stream) = streams.last_mut() {
                    stream.set_nonblocking(true).unwrap();
                    let _ = stream.write(&vec![2; len]);
                },
                Step::Close => drop(streams.pop()),
                Step::Post(count) => {
                    let count = count.min(64 - posted);
                    guest.post(count);
                    posted += count;
                }
                Step::Turn => guest.turn(),
            }
            for (header, _) in guest.received() {
                posted -= 1;
                prop_assert_eq!(header.src_cid, HOST_CID);
                prop_assert!((op::REQUEST..=op::CREDIT_REQUEST).contains(&header.op));
                prop_assert!(header.op == op::RST || header.buf_alloc == BUF_ALLOC);
            }
        }
        // It still works.
        guest.post(64 - posted);
        guest.turn();
        guest.device.reset();
    }
}
