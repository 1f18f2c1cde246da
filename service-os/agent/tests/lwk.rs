//! A program in an LWK, served from a Linux that shows the LWK's memory as a device DAX; the test plays the LWK.
//!
//! Needs a machine with such memory, and root: a service VM, or any with `memmap=256M%0x140000000-1+0xefffffff` on its command
//! line and the modules `dax_hmem` and `device_dax`. Elsewhere it says that it is skipped.

#[expect(dead_code, reason = "the other tests use the rest")]
mod common;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use libc::{SIGQUIT, SYS_getppid, SYS_getuid, SYS_open, SYS_pread64, SYS_read, SYS_write};
use margay_abi::calls::private;
use margay_abi::channel::ChannelPage;
use margay_abi::layout::{CHANNELS, MAP_LOG, PAGE};
use margay_abi::maplog::{MapLog, MapOp, RECORDS};
use margay_channel::{Driver, Request};
use margay_protocol::agent::{Ending, Event, Order, Place, Start, Stream};
use margay_protocol::proxy::{FromProxy, ToProxy};

use common::{Agent, Session, start};

const DEVICES: &str = "/sys/bus/dax/devices";
const STREAMS: [Stream; 4] = [Stream::Stdin, Stream::Stdout, Stream::Stderr, Stream::Doorbell];
/// Where the tests' data lies in guest memory, and where they show it.
const DATA_GPA: u64 = 4 << 20;
const DATA: u64 = 0x10_0000_0000;
/// What is mapped for the test.
const MAPPED: usize = 16 << 20;
/// A user who may not open the device himself.
const USER: u32 = 1000;

/// The first device: its file, address and length.
fn device() -> Option<(String, u64, u64)> {
    let entry = fs::read_dir(DEVICES).ok()?.flatten().next()?;
    let read = |name| fs::read_to_string(entry.path().join(name)).ok();
    let resource = read("resource")?;
    let address = u64::from_str_radix(resource.trim().strip_prefix("0x")?, 16).ok()?;
    let file = format!("/dev/{}", entry.file_name().to_string_lossy());
    Some((file, address, read("size")?.trim().parse().ok()?))
}

/// The LWK's side of a session.
struct Lwk {
    session: Session,
    driver: Driver<'static>,
    memory: *mut u8,
    seq: u32,
}

impl Lwk {
    /// Has the agent start a proxy in clean memory.
    fn start(agent: &Agent, file: &str, address: u64, bytes: u64) -> Lwk {
        let dax = File::options().read(true).write(true).open(file).unwrap();
        // SAFETY: a new mapping at an address of Linux's choice; it is never unmapped.
        let memory = unsafe {
            let (prot, null) = (libc::PROT_READ | libc::PROT_WRITE, std::ptr::null_mut());
            libc::mmap(null, MAPPED, prot, libc::MAP_SHARED, dax.as_raw_fd(), 0)
        };
        assert_ne!(memory, libc::MAP_FAILED);
        let memory = memory.cast::<u8>();
        // SAFETY: all of it was mapped just now, and nobody uses it yet.
        unsafe { memory.write_bytes(0, MAPPED) };
        // SAFETY: inside the mapping, page-aligned, atomic, and never unmapped.
        let page = unsafe { &*memory.add(CHANNELS as usize).cast::<ChannelPage>() };
        let mut session = agent.session(&STREAMS);
        let place = Place::Lwk { address, bytes, spin_us: 0 };
        let args = ["busybox", "true"];
        session.order(&Order::Start(Start { place, user: (USER, USER), ..start(&args, &STREAMS) }));
        match session.event() {
            Event::Launch(launch) => {
                assert_eq!(launch.ids, [USER; 4]);
                assert!(common::lives(launch.pid));
            }
            event => panic!("{event:?}"),
        }
        let mut lwk = Lwk { session, driver: Driver::new(page, CHANNELS), memory, seq: 0 };
        lwk.map_data();
        lwk
    }

    /// Shows two MiB of data.
    fn map_data(&mut self) {
        // SAFETY: inside the mapping, aligned, and atomic but for padding.
        let log = unsafe { &*self.memory.add(MAP_LOG as usize).cast::<MapLog>() };
        let record = &log.records[self.seq as usize % RECORDS];
        record.addr.store(DATA, Relaxed);
        record.len.store(2 << 20, Relaxed);
        record.gpa.store(DATA_GPA, Relaxed);
        record.op.store(MapOp::Map as u32, Relaxed);
        record.prot.store(3, Relaxed);
        self.seq += 1;
    }

    fn data(&mut self, offset: usize, len: usize) -> &mut [u8] {
        assert!(offset + len <= 2 << 20);
        // SAFETY: inside the mapping; the proxy uses it only during a call, and none is in flight.
        unsafe {
            let data = self.memory.add(DATA_GPA as usize + offset);
            std::slice::from_raw_parts_mut(data, len)
        }
    }

    fn submit(&mut self, nr: i64, args: &[u64]) {
        let mut all = [0; 6];
        all[..args.len()].copy_from_slice(args);
        self.driver.submit(&Request { nr: nr as u32, map_seq: self.seq, args: all });
        if self.driver.must_ring() {
            self.doorbell().write_all(&1_u64.to_ne_bytes()).unwrap();
        }
    }

    fn doorbell(&self) -> &UnixStream {
        self.session.stream(Stream::Doorbell)
    }

    /// A call, for whose reply the driver sleeps.
    fn call(&mut self, nr: i64, args: &[u64]) -> i64 {
        self.submit(nr, args);
        loop {
            if let Some(reply) = self.driver.poll() {
                return reply.ret as i64;
            }
            if !self.driver.arm() {
                let mut bytes = [0; 64];
                assert_ne!(self.doorbell().read(&mut bytes).unwrap(), 0, "the proxy is gone");
            }
        }
    }
}

#[test]
fn a_program_in_an_lwk_is_served_through_a_device() {
    let Some((file, address, bytes)) = device() else {
        println!("skipped: this Linux has no device DAX");
        return;
    };
    let agent = Agent::start();
    let start = || Lwk::start(&agent, &file, address, bytes);

    let mut lwk = start();
    assert_eq!(lwk.call(SYS_getppid, &[]), i64::from(agent.process.id()));
    assert_eq!(lwk.call(SYS_getuid, &[]), i64::from(USER));
    lwk.data(0, 6).copy_from_slice(b"output");
    assert_eq!(lwk.call(SYS_write, &[1, DATA, 6]), 6);
    lwk.session.stream(Stream::Stdin).write_all(b"input").unwrap();
    assert_eq!(lwk.call(SYS_read, &[0, DATA + 5 * PAGE, 100]), 5);
    assert_eq!(lwk.data(5 * PAGE as usize, 5), b"input");
    assert_eq!(lwk.call(SYS_pread64, &[4091, DATA, 4, 0]), 4, "the program file");
    assert_eq!(lwk.data(0, 4), b"\x7fELF");
    bandwidth(&mut lwk);
    lwk.submit(private::EXIT.into(), &[42]);
    assert_eq!(lwk.session.ending(), Ending::Exited(42));
    assert_eq!(lwk.session.text(Stream::Stdout), "output");

    let mut lwk = start();
    assert!(lwk.call(SYS_getppid, &[]) > 0, "once more, in the same memory");
    lwk.session.order(&Order::Signal(SIGQUIT));
    assert_eq!(lwk.session.event(), Event::Proxy(FromProxy::Where));
    let text = "somewhere\n".to_owned();
    lwk.session.order(&Order::Proxy(ToProxy::Report { text: text.clone() }));
    assert_eq!(lwk.session.ending(), Ending::Signaled(SIGQUIT));
    assert_eq!(lwk.session.text(Stream::Stderr), text);

    let mut lwk = start();
    let message = "the LWK is gone\n".to_owned();
    lwk.session.order(&Order::Proxy(ToProxy::End { message: message.clone(), status: 125 }));
    assert_eq!(lwk.session.ending(), Ending::Exited(125));
    assert_eq!(lwk.session.text(Stream::Stderr), message);

    let mut lwk = start();
    lwk.session.close(Stream::Doorbell);
    assert_eq!(lwk.session.ending(), Ending::Exited(125));
    assert!(lwk.session.text(Stream::Stderr).contains("doorbell"));
}

/// A delegated `pread` of a MiB into the device's memory, beside the same into this process's own: were the mapping not cached, it
/// would be slower by orders of magnitude.
fn bandwidth(lwk: &mut Lwk) {
    const MIB: usize = 1 << 20;
    const ROUNDS: u32 = 20;
    let path = "/tmp/a-mib";
    fs::write(path, vec![0x5a; MIB]).unwrap();
    lwk.data(0, path.len() + 1).copy_from_slice(b"/tmp/a-mib\0");
    let fd = lwk.call(SYS_open, &[DATA, 0, 0]) as u64;
    let delegated = per_round(ROUNDS, || {
        assert_eq!(lwk.call(SYS_pread64, &[fd, DATA + MIB as u64, MIB as u64, 0]), MIB as i64);
    });
    assert_eq!(lwk.data(2 * MIB - 1, 1), b"\x5a");
    let file = File::open(path).unwrap();
    let mut own = vec![0; MIB];
    let direct = per_round(ROUNDS, || {
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut own, 0).unwrap();
    });
    println!("pread of 1 MiB: {delegated:.0} us delegated, {direct:.0} us direct");
    assert!(delegated < 20.0 * direct + 5000.0);
}

/// Microseconds, after one round that touches everything.
fn per_round(rounds: u32, mut round: impl FnMut()) -> f64 {
    round();
    let since = Instant::now();
    (0..rounds).for_each(|_| round());
    since.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
}
