//! Noise: what else happens on the core, by fixed work quanta (Hoefler et al., "Characterizing the Influence of System Noise on
//! Large-Scale Applications by Simulation", SC 2010). The same few microseconds of arithmetic again and again: whatever takes longer
//! than the fastest was interrupted.

use crate::{
    error::BenchError,
    figure::Figure,
    machine::{measure_tsc_hz, read_tsc},
};

/// Steps of the generator in one quantum: some 10 us.
const STEPS: u32 = 8192;
/// Quanta before the first that counts.
const WARM_UP: u32 = 1000;
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Runs `quanta` quanta. Times are in microseconds of the TSC.
///
/// # Errors
/// [`BenchError::WrongResult`] if a quantum did not compute what all of them compute; [`BenchError::NoMemory`].
pub fn run(quanta: u32) -> Result<Vec<Figure>, BenchError> {
    let mut cycles = Vec::new();
    cycles
        .try_reserve_exact(quanta as usize)
        .map_err(|_| BenchError::NoMemory { bytes: quanta as usize * size_of::<u64>() })?;
    let wanted = work();
    let mut wrong = 0_u32;
    for quantum in 0..quanta + WARM_UP {
        let start = read_tsc();
        let result = work();
        let taken = read_tsc().wrapping_sub(start);
        wrong += u32::from(result != wanted);
        if quantum >= WARM_UP {
            cycles.push(taken);
        }
    }
    if wrong > 0 {
        let what = format!("{wrong} quanta computed something else than the first");
        return Err(BenchError::WrongResult { benchmark: "noise", what });
    }
    Ok(figures(cycles, measure_tsc_hz()))
}

/// One quantum: a chain of dependent steps (xorshift), so that it takes as long whatever else the core could do beside it.
#[inline(never)]
fn work() -> u64 {
    let mut x = std::hint::black_box(SEED);
    for _ in 0..STEPS {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    x
}

fn figures(mut cycles: Vec<u64>, tsc_hz: f64) -> Vec<Figure> {
    cycles.sort_unstable();
    let n = cycles.len();
    let us = |cycles: u64| cycles as f64 / tsc_hz * 1e6;
    let at = |quantile: f64| us(cycles[((n as f64 * quantile) as usize).min(n - 1)]);
    let sum: u64 = cycles.iter().sum();
    let lost = 1.0 - (cycles[0] * n as u64) as f64 / sum as f64;
    let figure = |metric, unit, value| Figure {
        name: "noise",
        metric,
        unit,
        value,
        seconds: sum as f64 / tsc_hz,
        n: n as u32,
        checks: format!("{n} quanta of {STEPS} steps, all equal"),
    };
    vec![
        figure("median", "us", at(0.5)),
        figure("p99", "us", at(0.99)),
        figure("p99.9", "us", at(0.999)),
        figure("longest", "us", us(cycles[n - 1])),
        figure("lost", "%", lost * 100.0),
    ]
}

#[cfg(test)]
mod tests {
    use super::{figures, run};

    #[test]
    fn quantiles_and_lost_time_of_known_quanta() {
        let mut cycles = vec![100; 998];
        cycles.extend([300, 1100]);
        let values: Vec<f64> = figures(cycles, 1e6).iter().map(|figure| figure.value).collect();
        assert_eq!(values[..4], [100.0, 100.0, 1100.0, 1100.0]);
        assert!((values[4] - 1200.0 / 101_200.0 * 100.0).abs() < 1e-9, "{}", values[4]);
    }

    #[test]
    fn a_short_run_gives_ordered_figures() {
        let values: Vec<f64> = run(200).unwrap().iter().map(|figure| figure.value).collect();
        assert!(values[0] > 0.0 && values[..4].is_sorted(), "{values:?}");
    }
}
