//! The floor of a delegated call: a cache line to the other core and another one back.
//!
//! A request and its reply are two cache lines, each written by one core and polled by the other, exactly as in the call
//! channel; here they carry a counter and nothing is done between. No delegation through shared memory can be faster, so
//! the ratio to this is what the channel, the LWK and the proxy cost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::stats::Distribution;
use super::{BenchError, Cores};
use crate::affinity;
use crate::lwk::clock::read_tsc;
use crate::units::CoreId;

/// Round trips before the clock runs.
const WARM_UP: usize = 10_000;
/// Tells the other side to end.
const STOP: u64 = u64::MAX;

/// A counter alone on its cache line, and on the neighbour that the prefetcher fetches with it.
#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

impl Line {
    /// Waits until the counter is no longer `old`, and returns it. Without a pause between looks: this is the floor.
    fn wait_while(&self, old: u64) -> u64 {
        loop {
            match self.0.load(Ordering::Acquire) {
                now if now == old => {}
                now => return now,
            }
        }
    }

    fn set(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }
}

/// Request and reply.
#[derive(Default)]
struct Lines {
    /// Written by the LWK's core.
    request: Line,
    /// Written by the service core.
    reply: Line,
}

fn pin(core: CoreId) -> Result<(), BenchError> {
    affinity::bind([core]).map_err(|source| BenchError::Pin { core, source })
}

/// Measures `round_trips` (at least 1) round trips from the LWK's core to the service core and back.
///
/// # Errors
/// [`BenchError::Pin`] when a core cannot be used.
pub fn measure(cores: Cores, round_trips: usize, tsc_hz: f64) -> Result<Distribution, BenchError> {
    let lines = Lines::default();
    thread::scope(|scope| {
        let responder = scope.spawn(|| {
            let pinned = pin(cores.service);
            match &pinned {
                Ok(()) => respond(&lines),
                Err(_) => lines.reply.set(STOP),
            }
            pinned
        });
        let requester = scope.spawn(|| {
            let pinned = pin(cores.lwk);
            let cycles =
                pinned.as_ref().map_or_else(|_| Vec::new(), |()| request(&lines, round_trips));
            lines.request.set(STOP);
            pinned.map(|()| cycles)
        });
        let cycles = requester.join().expect("the requester does not panic")?;
        responder.join().expect("the responder does not panic")?;
        Ok(Distribution::of_cycles(cycles, tsc_hz))
    })
}

/// Answers every request until told to stop.
fn respond(lines: &Lines) {
    let mut seen = 0;
    loop {
        seen = lines.request.wait_while(seen);
        if seen == STOP {
            return;
        }
        lines.reply.set(seen);
    }
}

/// Makes requests and returns the time of each after the warm-up, in TSC cycles. Ends early when the other side does.
fn request(lines: &Lines, round_trips: usize) -> Vec<u64> {
    let total = WARM_UP + round_trips;
    let mut cycles = Vec::with_capacity(total);
    let mut before = read_tsc();
    for number in 1..=total as u64 {
        lines.request.set(number);
        if lines.reply.wait_while(number - 1) == STOP {
            break;
        }
        // One reading ends a round trip and begins the next, so no time is counted twice or lost.
        let now = read_tsc();
        cycles.push(now - before);
        before = now;
    }
    cycles.split_off(WARM_UP.min(cycles.len()))
}

#[cfg(test)]
mod tests {
    use super::{Cores, measure};
    use crate::bench::BenchError;
    use crate::host::CoreFacts;
    use crate::units::CoreId;

    #[test]
    fn every_round_trip_is_counted() {
        let usable = CoreFacts::collect().usable;
        let (Some(service), Some(lwk)) = (usable.iter().next(), usable.iter().nth(1)) else {
            return;
        };
        let floor = measure(Cores { service, lwk }, 1000, 1e9).unwrap();
        assert_eq!(floor.n, 1000);
        assert!(0.0 < floor.p50 && floor.p50 <= floor.p99);
    }

    #[test]
    fn a_core_that_is_not_there_ends_both_sides() {
        let missing = CoreId(CoreId::LIMIT - 1);
        for cores in
            [Cores { service: missing, lwk: CoreId(0) }, Cores { service: CoreId(0), lwk: missing }]
        {
            let result = measure(cores, 1000, 1e9);
            assert!(matches!(result, Err(BenchError::Pin { core, .. }) if core == missing));
        }
    }
}
