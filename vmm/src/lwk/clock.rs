//! The clock page's writer: keeps the guest's clocks on the host's.
//!
//! See [`margay_abi::time`] for the reader's side. Between two updates the guest extrapolates with the TSC. Each update
//! continues the old line at the present TSC and chooses the slope so that it meets the host's clock one period
//! later: the monotonic clock neither jumps nor runs backwards.

use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::fence;
use std::time::Duration;

use margay_abi::time::{Clock, TimePage};

/// Time between two updates.
pub const PERIOD: Duration = Duration::from_secs(1);

/// The most that one update bends the clock: 500 ppm, as NTP does.
const MAX_SLEW: f64 = 500e-6;

/// Writes one clock page.
#[derive(Clone, Debug)]
pub struct ClockWriter {
    tsc_hz: u64,
    started: bool,
}

impl ClockWriter {
    /// A writer for a TSC of `tsc_hz` cycles per second.
    pub fn new(tsc_hz: u64) -> Self {
        ClockWriter { tsc_hz, started: false }
    }

    /// Brings `page` up to date with the host's clocks.
    pub fn update(&mut self, page: &TimePage) {
        let now = sample();
        let nominal = 1e9 / self.tsc_hz as f64;
        let (base, slope) = if self.started {
            let line = page.read_ns(Clock::Monotonic, || now.tsc);
            let behind = now.mono_ns.wrapping_sub(line) as i64 as f64;
            let slew = (behind / PERIOD.as_nanos() as f64).clamp(-MAX_SLEW, MAX_SLEW);
            (line, nominal * (1.0 + slew))
        } else {
            (now.mono_ns, nominal)
        };
        self.started = true;

        let seq = page.seq.load(Relaxed);
        page.seq.store(seq.wrapping_add(1), Relaxed);
        // The odd count must be visible before any of the data is (a sequence lock's writer).
        fence(Release);
        page.tsc_base.store(now.tsc, Relaxed);
        page.mono_ns.store(base, Relaxed);
        page.mult.store((slope * 2f64.powi(32)) as u64, Relaxed);
        page.real_offset_ns.store(now.real_offset_ns, Relaxed);
        page.boot_offset_ns.store(now.boot_offset_ns, Relaxed);
        page.tai_offset_ns.store(now.tai_offset_ns, Relaxed);
        page.seq.store(seq.wrapping_add(2), Release);
    }
}

/// All clocks at one moment.
struct Sample {
    tsc: u64,
    mono_ns: u64,
    real_offset_ns: u64,
    boot_offset_ns: u64,
    tai_offset_ns: u64,
}

/// Samples TSC and clocks as close together as a few tries manage.
fn sample() -> Sample {
    let (tsc, mono_ns) = (0..8)
        .map(|_| {
            let before = read_tsc();
            let mono = read_clock(libc::CLOCK_MONOTONIC);
            let after = read_tsc();
            (after - before, (before + (after - before) / 2, mono))
        })
        .min_by_key(|&(width, _)| width)
        .expect("eight tries are more than none")
        .1;
    let offset = |clock| {
        let before = read_clock(libc::CLOCK_MONOTONIC);
        let value = read_clock(clock);
        let after = read_clock(libc::CLOCK_MONOTONIC);
        value.wrapping_sub(before + (after - before) / 2)
    };
    Sample {
        tsc,
        mono_ns,
        real_offset_ns: offset(libc::CLOCK_REALTIME),
        boot_offset_ns: offset(libc::CLOCK_BOOTTIME),
        tai_offset_ns: offset(libc::CLOCK_TAI),
    }
}

/// Reads the host's TSC, in cycles.
pub fn read_tsc() -> u64 {
    // SAFETY: `rdtsc` reads a counter.
    unsafe { std::arch::x86_64::_rdtsc() }
}

fn read_clock(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a local; these clocks always exist.
    unsafe { libc::clock_gettime(clock, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Measures the TSC's frequency against the monotonic clock, in about 20 ms. For hosts whose KVM does not know it.
pub fn measure_tsc_hz() -> u64 {
    let start = sample();
    std::thread::sleep(Duration::from_millis(20));
    let end = sample();
    let (cycles, ns) = (end.tsc - start.tsc, end.mono_ns - start.mono_ns);
    (u128::from(cycles) * 1_000_000_000 / u128::from(ns)) as u64
}

#[cfg(test)]
mod tests {
    use super::{ClockWriter, measure_tsc_hz, read_clock, read_tsc};
    use margay_abi::time::{Clock, TimePage};

    #[test]
    fn the_page_follows_the_host_and_never_runs_backwards() {
        // SAFETY: all fields are integers, for which zero is valid.
        let page: TimePage = unsafe { std::mem::zeroed() };
        let mut writer = ClockWriter::new(measure_tsc_hz());
        let mut last = 0;
        for _ in 0..50 {
            writer.update(&page);
            for _ in 0..100 {
                let now = page.read_ns(Clock::Monotonic, read_tsc);
                assert!(now >= last, "{now} after {last}");
                last = now;
            }
        }
        let real = page.read_ns(Clock::Real, read_tsc);
        let host = read_clock(libc::CLOCK_REALTIME);
        assert!(real.abs_diff(host) < 50_000_000, "{real} beside {host}");
    }
}
