//! What a delegated call costs without a guest, beside its floor: `cargo bench -p margay-proxy`.
//!
//! Needs two cores: the proxy, and the echo of the floor, run on the first, this thread on the second.

#[expect(dead_code, reason = "the tests use the rest")]
#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use margay_abi::calls::private;

use common::Lwk;

const ROUNDS: usize = 200_000;

fn main() {
    pin(1).expect("this benchmark needs two cores");
    for _ in 0..3 {
        measure();
    }
}

fn measure() {
    let floor = floor();
    // SAFETY: takes no arguments and always succeeds.
    let native = time(|| _ = black_box(unsafe { libc::getppid() }));

    let mut lwk = Lwk::start_with(1_000_000, |command| {
        // SAFETY: one async-signal-safe call.
        unsafe { command.pre_exec(|| pin(0)) };
    });
    lwk.map_data();
    let unknown = time(|| assert!(lwk.call(private::PROBE_EXIT.into(), &[]) < 0));
    let getppid = time(|| assert!(lwk.call(libc::SYS_getppid, &[]) > 0));

    println!("cache-line ping-pong          {floor}");
    println!("host getppid                  {native}");
    println!("delegated, refused by proxy   {unknown}  {:.2} x floor", unknown.p50 / floor.p50);
    println!("delegated getppid             {getppid}  {:.2} x floor", getppid.p50 / floor.p50);
    println!("  of floor plus host getppid  {:.2}", getppid.p50 / (floor.p50 + native.p50));
}

/// A line that one core writes.
#[repr(align(128))]
struct Line(AtomicU64);

/// Two cores that answer each other, one cache line each way.
fn floor() -> Times {
    const STOP: u64 = u64::MAX;
    let (there, back) = (Line(AtomicU64::new(0)), Line(AtomicU64::new(0)));
    thread::scope(|scope| {
        scope.spawn(|| {
            pin(0).expect("this benchmark needs two cores");
            let mut last = 0;
            while last != STOP {
                let now = there.0.load(Ordering::Acquire);
                if now != last {
                    back.0.store(now, Ordering::Release);
                    last = now;
                }
            }
        });
        let mut n = 0;
        let times = time(|| {
            n += 1;
            there.0.store(n, Ordering::Release);
            while back.0.load(Ordering::Acquire) != n {}
        });
        there.0.store(STOP, Ordering::Release);
        times
    })
}

/// Median and 99th percentile, in nanoseconds.
struct Times {
    p50: f64,
    p99: f64,
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "p50 {:7.1} ns, p99 {:7.1} ns", self.p50, self.p99)
    }
}

fn time(mut round: impl FnMut()) -> Times {
    (0..ROUNDS / 10).for_each(|_| round());
    let (start, start_tsc) = (Instant::now(), tsc());
    let mut cycles: Vec<u64> = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let before = tsc();
        round();
        cycles.push(tsc() - before);
    }
    let ns_per_cycle = start.elapsed().as_nanos() as f64 / (tsc() - start_tsc) as f64;
    cycles.sort_unstable();
    let at = |percent: usize| cycles[ROUNDS * percent / 100] as f64 * ns_per_cycle;
    Times { p50: at(50), p99: at(99) }
}

fn tsc() -> u64 {
    // SAFETY: every x86-64 processor has it, and Linux allows it.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// Keeps this thread, or process, on one core.
fn pin(core: usize) -> std::io::Result<()> {
    // SAFETY: zero bytes are an empty set, and the set is live for the call.
    let ret = unsafe {
        let mut set = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set)
    };
    if ret < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}
