//! Nobody gets more than he has room for, and waits for nobody else.

use std::io::{Read, Write};

use super::super::packet::{Header, op, shutdown};
use super::super::{BUF_ALLOC, MAX_PAYLOAD};
use super::guest::{Guest, RX_BUFFER, ends_after};

/// Writes as much as the socket pair takes.
fn fill(stream: &mut std::os::unix::net::UnixStream) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut total = 0;
    while let Ok(written) = stream.write(&[7; 1024]) {
        total += written;
    }
    stream.set_nonblocking(false).unwrap();
    total
}

#[test]
fn the_guest_gets_no_more_than_its_credit() {
    let mut guest = Guest::new();
    let (mut stream, mut peer) = guest.connected();
    peer.buf_alloc = 5000;
    guest.send(peer.packet(op::CREDIT_UPDATE), &[]);
    assert!(fill(&mut stream) > 20_000);
    guest.turn();
    let packets = guest.received();
    let lens: Vec<_> = packets.iter().map(|(h, _)| (h.op, h.len)).collect();
    assert_eq!(
        lens,
        [(op::RW, RX_BUFFER as u32), (op::RW, 5000 - RX_BUFFER as u32), (op::CREDIT_REQUEST, 0)]
    );
    guest.send(peer.packet(op::CREDIT_UPDATE), &[]);
    // An answer without news is no reason to ask again: both would do so for ever.
    guest.nothing();

    peer.fwd_cnt = 1000;
    guest.send(peer.packet(op::CREDIT_UPDATE), &[]);
    let lens: Vec<_> = guest.received().iter().map(|(h, _)| (h.op, h.len)).collect();
    assert_eq!(lens, [(op::RW, 1000), (op::CREDIT_REQUEST, 0)]);
}

#[test]
fn packets_wait_for_buffers_and_connections_take_turns() {
    let mut guest = Guest::new();
    let (mut first, first_peer) = guest.connected();
    let (mut second, second_peer) = guest.connected();
    let mut taken = 0;
    while taken < 64 {
        first.write_all(&[1; 100]).unwrap();
        guest.turn();
        taken += guest.received().len();
    }
    fill(&mut first);
    guest.nothing();
    fill(&mut second);
    guest.nothing();
    guest.post(4);
    let ports: Vec<_> = guest.received().iter().map(|(header, _)| header.src_port).collect();
    let (first, second) = (first_peer.port, second_peer.port);
    assert_eq!(ports, [first, second, first, second]);
}

#[test]
fn a_host_end_that_does_not_read_stops_only_its_connection() {
    let mut guest = Guest::new();
    let (mut slow, slow_peer) = guest.connected();
    let (mut fast, fast_peer) = guest.connected();
    let (mut sent, mut announced) = (0u32, 0u32);
    let mut updates = 0;
    let part = vec![1; 16 << 10];
    // Sends as long as the device's credit allows.
    while BUF_ALLOC - (sent - announced) >= part.len() as u32 {
        guest.data(&slow_peer, &part);
        sent += part.len() as u32;
        guest.turn();
        for (header, _) in guest.received() {
            assert_eq!((header.op, header.buf_alloc), (op::CREDIT_UPDATE, BUF_ALLOC));
            announced = header.fwd_cnt;
            updates += 1;
            guest.post(1);
        }
    }
    assert!(updates > 0, "the socket pair took some");
    guest.data(&fast_peer, b"quick");
    let mut read = [0; 5];
    fast.read_exact(&mut read).unwrap();

    // The end of data waits behind the data.
    guest.send(slow_peer.shutdown(shutdown::SEND), &[]);
    let reader = std::thread::spawn(move || {
        let mut all = Vec::new();
        slow.read_to_end(&mut all).unwrap();
        all.len()
    });
    while !reader.is_finished() {
        guest.turn();
    }
    assert_eq!(reader.join().unwrap(), sent as usize);
}

#[test]
fn stored_data_reaches_the_host_after_the_guest_is_gone() {
    let mut guest = Guest::new();
    let (mut stream, peer) = guest.connected();
    let all: Vec<u8> = (0..BUF_ALLOC).map(|n| n as u8).collect();
    guest.data(&peer, &all);
    guest.nothing_but(op::CREDIT_UPDATE);
    guest.send(peer.shutdown(shutdown::SEND | shutdown::RECEIVE), &[]);
    assert_eq!(guest.one().op, op::RST);
    let reader = std::thread::spawn(move || {
        ends_after(&mut stream, &all);
    });
    while !reader.is_finished() {
        guest.turn();
    }
    reader.join().unwrap();
}

#[test]
fn sending_beyond_the_credit_costs_the_connection() {
    let mut guest = Guest::new();
    let (stream, peer) = guest.connected();
    let mut resets = 0;
    // The socket pair and the store hold far less than this.
    for _ in 0..64 {
        guest.data(&peer, &vec![0; 32 << 10]);
        resets += guest.received().iter().filter(|(h, _)| h.op == op::RST).count();
        guest.post(1);
    }
    assert!(resets > 0);
    drop(stream);
}

#[test]
fn a_credit_request_is_answered() {
    let mut guest = Guest::new();
    let (_stream, peer) = guest.connected();
    guest.data(&peer, b"12345");
    guest.nothing();
    guest.send(peer.packet(op::CREDIT_REQUEST), &[]);
    let update = guest.one();
    assert_eq!((update.op, update.buf_alloc, update.fwd_cnt), (op::CREDIT_UPDATE, BUF_ALLOC, 5));
}

#[test]
fn a_megabyte_each_way() {
    let mut guest = Guest::new();
    let (mut stream, mut peer) = guest.connected();
    let all: Vec<u8> = (0..1u32 << 20).map(|n| (n % 251) as u8).collect();
    let mut writer = stream.try_clone().unwrap();
    let sent = all.clone();
    let writer = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    let expected = all.clone();
    let reader = std::thread::spawn(move || {
        let mut read = vec![0; expected.len()];
        stream.read_exact(&mut read).unwrap();
        assert!(read == expected);
    });
    let (mut got, mut given, mut announced) = (Vec::new(), 0usize, 0u32);
    while got.len() < all.len() || given < all.len() || !reader.is_finished() {
        let free = BUF_ALLOC as usize - (given as u32).wrapping_sub(announced) as usize;
        let part = free.min(MAX_PAYLOAD).min(all.len() - given);
        if part > 0 {
            let header = Header { len: part as u32, ..peer.packet(op::RW) };
            guest.send(header, &all[given..given + part]);
            given += part;
        }
        guest.turn();
        for (header, payload) in guest.received() {
            announced = header.fwd_cnt;
            got.extend(payload);
            peer.fwd_cnt = got.len() as u32;
            guest.post(1);
        }
        guest.send(peer.packet(op::CREDIT_UPDATE), &[]);
    }
    writer.join().unwrap();
    reader.join().unwrap();
    assert!(got == all);
}
