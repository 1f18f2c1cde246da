//! Clocks and sleeping.

use margay_abi::Errno;
use margay_abi::calls::nr;
use margay_abi::time::Clock;

use super::{Result, delegate_checked};
use crate::arch::{cpu, usercopy};
use crate::kernel::Kernel;

const NS_PER_S: u64 = 1_000_000_000;
/// Sleeps up to this long are spent polling the TSC: going to Linux and back would take about as long.
const SHORT_SLEEP_NS: u64 = 50_000;

const CLOCK_PROCESS_CPUTIME: u64 = 2;
const CLOCK_THREAD_CPUTIME: u64 = 3;
/// `clock_nanosleep`: the time is a point on the clock.
const TIMER_ABSTIME: u64 = 1;

/// Now, in ns.
fn now(kernel: &Kernel, clock: Clock) -> u64 {
    kernel.time.read_ns(clock, cpu::read_tsc)
}

/// CPU time of the program, in ns. The core is its own: time passes for it from its first instruction on, except while
/// the core is halted.
fn cpu_time(kernel: &Kernel) -> u64 {
    let halted = kernel.proxy.get().halted_cycles();
    let started = kernel.status.tsc_user.load(core::sync::atomic::Ordering::Relaxed);
    let cycles = cpu::read_tsc().wrapping_sub(started).saturating_sub(halted);
    (u128::from(cycles) * u128::from(NS_PER_S) / u128::from(kernel.boot.tsc_hz.max(1))) as u64
}

fn timespec(ns: u64) -> [u64; 2] {
    [ns / NS_PER_S, ns % NS_PER_S]
}

/// `clock_gettime`. Clocks that are not of the page or the CPU (a device's, another process's) are Linux's.
pub fn clock_gettime(kernel: &'static Kernel, id: u64, out: u64) -> Result {
    let ns = match (Clock::from_id(id), id) {
        (Some(clock), _) => now(kernel, clock),
        (None, CLOCK_PROCESS_CPUTIME | CLOCK_THREAD_CPUTIME) => cpu_time(kernel),
        _ => return delegate_checked(kernel, nr::CLOCK_GETTIME, [id, out, 0, 0, 0, 0]),
    };
    usercopy::write(out, timespec(ns)).map(|()| 0)
}

/// `clock_getres`.
pub fn clock_getres(kernel: &'static Kernel, id: u64, out: u64) -> Result {
    let known =
        Clock::from_id(id).is_some() || matches!(id, CLOCK_PROCESS_CPUTIME | CLOCK_THREAD_CPUTIME);
    match (known, out) {
        (false, _) => delegate_checked(kernel, nr::CLOCK_GETRES, [id, out, 0, 0, 0, 0]),
        (true, 0) => Ok(0),
        (true, _) => usercopy::write(out, timespec(1)).map(|()| 0),
    }
}

/// `gettimeofday`. The time zone, which Linux keeps for history's sake, is zero.
pub fn gettimeofday(kernel: &Kernel, time: u64, zone: u64) -> Result {
    if time != 0 {
        let ns = now(kernel, Clock::Real);
        usercopy::write(time, [ns / NS_PER_S, ns % NS_PER_S / 1000])?;
    }
    if zone != 0 {
        usercopy::write(zone, [0_u32; 2])?;
    }
    Ok(0)
}

/// `time`.
pub fn time(kernel: &Kernel, out: u64) -> Result {
    let seconds = now(kernel, Clock::Real) / NS_PER_S;
    if out != 0 {
        usercopy::write(out, seconds)?;
    }
    Ok(seconds)
}

/// `nanosleep`.
pub fn nanosleep(kernel: &'static Kernel, request: u64, remain: u64) -> Result {
    match relative_ns(request)? {
        ns if ns <= SHORT_SLEEP_NS => Ok(spin(kernel, ns)),
        _ => delegate_checked(kernel, nr::NANOSLEEP, [request, remain, 0, 0, 0, 0]),
    }
}

/// `clock_nanosleep`.
pub fn clock_nanosleep(
    kernel: &'static Kernel,
    clock: u64,
    flags: u64,
    request: u64,
    remain: u64,
) -> Result {
    let ns = relative_ns(request)?;
    if flags & TIMER_ABSTIME == 0 && ns <= SHORT_SLEEP_NS && Clock::from_id(clock).is_some() {
        return Ok(spin(kernel, ns));
    }
    delegate_checked(kernel, nr::CLOCK_NANOSLEEP, [clock, flags, request, remain, 0, 0])
}

/// The nanoseconds of a `timespec` in the program's memory.
fn relative_ns(addr: u64) -> core::result::Result<u64, Errno> {
    let [seconds, ns] = usercopy::read::<[i64; 2]>(addr)?;
    if seconds < 0 || !(0..NS_PER_S as i64).contains(&ns) {
        return Err(Errno::EINVAL);
    }
    Ok((seconds as u64).saturating_mul(NS_PER_S).saturating_add(ns as u64))
}

fn spin(kernel: &Kernel, ns: u64) -> u64 {
    let end = now(kernel, Clock::Monotonic) + ns;
    while now(kernel, Clock::Monotonic) < end {
        core::hint::spin_loop();
    }
    0
}
