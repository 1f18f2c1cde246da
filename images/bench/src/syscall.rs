//! The cost of system calls, in whatever environment the program runs.
//!
//! `getpid` is answered where the program runs (by the LWK, by Linux) and is so short that batches are timed; `getppid` is
//! delegated by an LWK and timed call by call, as is the exit to the VMM. Each kind is made often before the clock
//! runs, since an LWK rewrites a call site only after it was used for a while.

use crate::{
    error::BenchError,
    figure::Latency,
    machine::{call_getpid, call_getppid, call_probe_exit, measure_tsc_hz, read_tsc},
};

/// Calls of each kind before the clock runs.
const WARM_UP: u32 = 4_000;
/// `getpid` calls in a sample.
const BATCH: u32 = 1_000;
/// Longest time to sample one kind, in seconds. An environment so slow gives fewer samples.
const MOST_SECONDS: f64 = 2.0;
/// Samples that are taken however long they last.
const FEWEST: usize = 100;

/// Whether to measure an exit to the VMM.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Measure it; fails outside an LWK.
    Probe,
    /// Do not.
    Skip,
}

/// Measures each kind of call with up to `samples` samples.
///
/// # Errors
/// [`BenchError::WrongResult`] if a call returns what it must not; [`BenchError::NoExitProbe`] outside an LWK.
pub fn run(samples: u32, exit: Exit) -> Result<Vec<Latency>, BenchError> {
    let tsc_hz = measure_tsc_hz();
    let wrong = |benchmark, want| {
        move |got| BenchError::WrongResult {
            benchmark,
            what: format!("returned {got}, not {want}"),
        }
    };
    // A batch holds many calls already.
    let batches = Plan { samples: (samples / 40).max(100) as usize, batch: BATCH, tsc_hz };
    let singles = Plan { samples: samples as usize, batch: 1, tsc_hz };
    let pid = i64::from(std::process::id());
    let parent = i64::from(std::os::unix::process::parent_id());
    let mut latencies = vec![
        batches.latency("getpid", call_getpid, pid).map_err(wrong("getpid", pid))?,
        singles.latency("getppid", call_getppid, parent).map_err(wrong("getppid", parent))?,
    ];
    if exit == Exit::Probe {
        let no_probe = |returned| BenchError::NoExitProbe { returned };
        latencies.push(singles.latency("exit", call_probe_exit, 0).map_err(no_probe)?);
    }
    Ok(latencies)
}

/// How much to sample.
#[derive(Clone, Copy)]
struct Plan {
    samples: usize,
    /// Calls in a sample.
    batch: u32,
    tsc_hz: f64,
}

impl Plan {
    /// Samples `call`, which must return `want`; the error is what it returned instead.
    fn latency(
        self,
        name: &'static str,
        call: impl Fn() -> i64,
        want: i64,
    ) -> Result<Latency, i64> {
        let mut cycles = Vec::with_capacity(self.samples);
        for _ in 0..WARM_UP.div_ceil(self.batch) {
            time_calls(self.batch, &call, want)?;
        }
        let deadline = read_tsc() + (MOST_SECONDS * self.tsc_hz) as u64;
        while cycles.len() < self.samples && (cycles.len() < FEWEST || read_tsc() < deadline) {
            let batch = time_calls(self.batch, &call, want)?;
            cycles.push(batch as f64 / f64::from(self.batch));
        }
        cycles.sort_by(f64::total_cmp);
        Ok(Latency {
            name,
            unit: "cycles",
            p50: quantile(&cycles, 0.50),
            p99: quantile(&cycles, 0.99),
            n: cycles.len() as u32,
            batch: self.batch,
            tsc_hz: self.tsc_hz,
        })
    }
}

/// Times `batch` calls together, in TSC cycles. One function for each kind of call, never inlined, so that the call site
/// that is timed is the one that was warmed up.
#[inline(never)]
fn time_calls(batch: u32, call: &impl Fn() -> i64, want: i64) -> Result<u64, i64> {
    let start = read_tsc();
    for _ in 0..batch {
        let returned = call();
        if returned != want {
            return Err(returned);
        }
    }
    Ok(read_tsc() - start)
}

/// The value that a fraction `q` of the samples do not exceed (nearest rank). `sorted` is not empty.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::{Exit, FEWEST, Plan, quantile, run};
    use crate::error::BenchError;

    #[test]
    fn linux_gives_two_latencies_and_no_exit() {
        let latencies = run(200, Exit::Skip).unwrap();
        assert_eq!(latencies.iter().map(|l| l.name).collect::<Vec<_>>(), ["getpid", "getppid"]);
        assert!(latencies.iter().all(|l| 0.0 < l.p50 && l.p50 <= l.p99 && l.tsc_hz > 1e8));
        assert_eq!(latencies[1].n, 200);
        assert!(matches!(run(200, Exit::Probe), Err(BenchError::NoExitProbe { returned: -38 })));
    }

    #[test]
    fn a_wrong_return_value_ends_the_measurement() {
        let plan = Plan { samples: 10, batch: 2, tsc_hz: 1e9 };
        assert_eq!(plan.latency("getpid", || 5, 6).unwrap_err(), 5);
        assert_eq!(plan.latency("getpid", || 5, 5).unwrap().n, 10);
    }

    #[test]
    fn slow_calls_give_fewer_samples_but_enough() {
        // With so slow a clock the deadline is over at once.
        let plan = Plan { samples: 1000, batch: 1, tsc_hz: 1e-3 };
        assert_eq!(plan.latency("getpid", || 5, 5).unwrap().n as usize, FEWEST);
    }

    #[test]
    fn quantiles_by_nearest_rank() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&sorted, 0.5), quantile(&sorted, 0.99)), (50.0, 99.0));
        assert_eq!((quantile(&sorted, 0.0), quantile(&sorted, 1.0)), (1.0, 100.0));
        assert_eq!(quantile(&[7.0], 0.5), 7.0);
    }
}
