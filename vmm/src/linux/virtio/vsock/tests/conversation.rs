//! Connections begin, carry data, and end in every way there is.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;

use super::super::MAX_CONNECTIONS;
use super::super::VsockDevice;
use super::super::packet::{Header, op, shutdown};
use super::guest::{Guest, PORT, ends_after};
use crate::linux::virtio::VirtioDevice;

#[test]
fn data_goes_both_ways() {
    let mut guest = Guest::new();
    let (mut stream, peer) = guest.connected();
    stream.write_all(b"hello").unwrap();
    guest.turn();
    let packets = guest.received();
    assert_eq!(packets.len(), 1);
    assert_eq!((packets[0].0.op, packets[0].1.as_slice()), (op::RW, b"hello".as_slice()));

    guest.data(&peer, b"good day");
    let mut read = [0; 8];
    stream.read_exact(&mut read).unwrap();
    assert_eq!(&read, b"good day");
    assert_eq!(guest.driver.interrupts.take(1), 2, "for the response and the data");
}

#[test]
fn what_is_written_before_the_guest_accepts_is_kept() {
    let mut guest = Guest::new();
    let mut stream = guest.host.connect(PORT).unwrap();
    stream.write_all(b"early").unwrap();
    let request = guest.one();
    guest.nothing();
    let peer = super::guest::Peer { port: request.src_port, buf_alloc: 4096, fwd_cnt: 0 };
    guest.send(peer.packet(op::RESPONSE), &[]);
    guest.turn();
    assert_eq!(guest.received()[0].1, b"early");
}

#[test]
fn a_refusal_is_the_end_of_the_file_even_when_data_was_written() {
    let mut guest = Guest::new();
    let mut stream = guest.host.connect(PORT).unwrap();
    stream.write_all(b"never read").unwrap();
    let request = guest.one();
    guest.send(request.reset(), &[]);
    ends_after(&mut stream, b"");
    assert_eq!(stream.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    guest.nothing();
}

#[test]
fn without_a_driver_connections_end_at_once() {
    let (device, host) = VsockDevice::new().unwrap();
    ends_after(&mut host.connect(PORT).unwrap(), b"");
    drop(device);
    ends_after(&mut host.connect(PORT).unwrap(), b"");

    let mut guest = Guest::new();
    let (mut stream, peer) = guest.connected();
    guest.data(&peer, b"last");
    stream.write_all(b"x").unwrap();
    let mut waiting = guest.host.connect(PORT).unwrap();
    waiting.write_all(b"x").unwrap();
    guest.device.reset();
    ends_after(&mut stream, b"last");
    ends_after(&mut waiting, b"");
    ends_after(&mut guest.host.connect(PORT).unwrap(), b"");
}

#[test]
fn a_reset_ends_the_stream_after_what_came_before() {
    let mut guest = Guest::new();
    let (mut stream, peer) = guest.connected();
    guest.data(&peer, b"all of it");
    guest.send(peer.packet(op::RST), &[]);
    ends_after(&mut stream, b"all of it");
    guest.nothing();
    guest.send(peer.packet(op::CREDIT_UPDATE), &[]);
    assert_eq!(guest.one().op, op::RST, "the connection is unknown now");
}

#[test]
fn the_guest_may_end_its_direction_and_still_receive() {
    let mut guest = Guest::new();
    let (mut stream, peer) = guest.connected();
    guest.data(&peer, b"question");
    guest.send(peer.shutdown(shutdown::SEND), &[]);
    ends_after(&mut stream, b"question");
    stream.write_all(b"answer").unwrap();
    guest.turn();
    assert_eq!(guest.received()[0].1, b"answer");
    guest.send(Header { len: 1, ..peer.packet(op::RW) }, b"x");
    assert_eq!(guest.one().op, op::RST, "it said that it sends no more");
}

#[test]
fn the_host_may_end_its_direction_and_still_receive() {
    let mut guest = Guest::new();
    let (mut stream, peer) = guest.connected();
    stream.write_all(b"question").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    guest.turn();
    let packets = guest.received();
    assert_eq!(packets[0].1, b"question");
    assert_eq!((packets[1].0.op, packets[1].0.flags), (op::SHUTDOWN, shutdown::SEND));
    assert_eq!(packets.len(), 2);
    guest.data(&peer, b"answer");
    guest.send(peer.shutdown(shutdown::SEND | shutdown::RECEIVE), &[]);
    ends_after(&mut stream, b"answer");
    assert_eq!(guest.one().op, op::RST, "the guest waits for it when it closes");
    guest.nothing();
}

#[test]
fn a_side_that_receives_no_more_breaks_the_others_pipe() {
    let mut guest = Guest::new();
    let (mut stream, peer) = guest.connected();
    guest.send(peer.shutdown(shutdown::RECEIVE), &[]);
    assert_eq!(stream.write(b"x").unwrap_err().kind(), ErrorKind::BrokenPipe);
    guest.data(&peer, b"still sends");
    let mut read = [0; 11];
    stream.read_exact(&mut read).unwrap();

    let (stream, peer) = guest.connected();
    stream.shutdown(Shutdown::Read).unwrap();
    guest.data(&peer, b"for nobody");
    let told = guest.one();
    assert_eq!((told.op, told.flags), (op::SHUTDOWN, shutdown::RECEIVE));
}

#[test]
fn closing_the_hosts_end_sends_what_is_left_and_then_shuts_down() {
    let mut guest = Guest::new();
    let (mut stream, peer) = guest.connected();
    stream.write_all(b"bye").unwrap();
    drop(stream);
    guest.turn();
    let packets = guest.received();
    let flags =
        |op| packets.iter().filter(|(h, _)| h.op == op).fold(0, |flags, (h, _)| flags | h.flags);
    assert_eq!(flags(op::SHUTDOWN), shutdown::SEND | shutdown::RECEIVE);
    let data = packets.iter().position(|(h, payload)| h.op == op::RW && payload == b"bye").unwrap();
    assert!(data + 1 == packets.len() - 1, "only the end comes after the data");
    guest.send(peer.packet(op::RST), &[]);
    guest.nothing();
}

#[test]
fn closing_before_the_guest_answered_takes_the_request_back() {
    let mut guest = Guest::new();
    let stream = guest.host.connect(PORT).unwrap();
    let request = guest.one();
    drop(stream);
    let reset = guest.one();
    assert_eq!((reset.op, reset.src_port, reset.dst_port), (op::RST, request.src_port, PORT));

    let mut guest = Guest::without_buffers();
    drop(guest.host.connect(PORT).unwrap());
    guest.turn();
    guest.turn();
    guest.post(4);
    guest.nothing();
}

#[test]
fn the_guest_cannot_connect() {
    let mut guest = Guest::new();
    let peer = super::guest::Peer { port: 22, buf_alloc: 4096, fwd_cnt: 0 };
    guest.send(peer.packet(op::REQUEST), &[]);
    let reset = guest.one();
    assert_eq!((reset.op, reset.src_port, reset.dst_port), (op::RST, 22, PORT));
    guest.send(peer.packet(op::RST), &[]);
    guest.nothing();
}

#[test]
fn connections_beyond_the_limit_are_refused_and_ended_ones_make_room() {
    let mut guest = Guest::without_buffers();
    let mut streams = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        streams.push(guest.host.connect(PORT).unwrap());
    }
    guest.turn();
    let mut extra = guest.host.connect(PORT).unwrap();
    guest.turn();
    ends_after(&mut extra, b"");
    drop(streams);
    for _ in 0..MAX_CONNECTIONS {
        guest.turn();
    }
    guest.post(16);
    let (_stream, _peer) = guest.connected();
}
