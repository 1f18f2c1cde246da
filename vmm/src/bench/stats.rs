//! Quantiles, and medians over rounds.

use serde::Serialize;

/// The distribution of a latency, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Distribution {
    /// Median, ns.
    pub p50: f64,
    /// 99th percentile, ns.
    pub p99: f64,
    /// Number of samples.
    pub n: u64,
}

impl Distribution {
    /// The distribution of samples in TSC cycles. There must be one sample at least.
    pub fn of_cycles(mut cycles: Vec<u64>, tsc_hz: f64) -> Distribution {
        cycles.sort_unstable();
        let ns = |q| quantile(&cycles, q) as f64 * 1e9 / tsc_hz;
        Distribution { p50: ns(0.50), p99: ns(0.99), n: cycles.len() as u64 }
    }

    /// Puts rounds together: the medians of their quantiles, so that a round in which the machine was busy with something
    /// else has no say. There must be one round at least.
    pub fn over_rounds(rounds: impl Iterator<Item = Distribution> + Clone) -> Distribution {
        Distribution {
            p50: median(rounds.clone().map(|round| round.p50)),
            p99: median(rounds.clone().map(|round| round.p99)),
            n: rounds.map(|round| round.n).sum(),
        }
    }
}

/// The median; of an even number of values the mean of the two in the middle. There must be one value at least.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
    (below + above) / 2.0
}

/// The value that a fraction `q` of the samples do not exceed (nearest rank).
fn quantile(sorted: &[u64], q: f64) -> u64 {
    let rank = (q * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::{Distribution, median};

    #[test]
    fn quantiles_are_nearest_ranks_in_nanoseconds() {
        let shuffled = (0..1000).map(|i| (i * 7) % 1000 + 1).collect();
        let got = Distribution::of_cycles(shuffled, 2e9);
        assert_eq!(got, Distribution { p50: 250.0, p99: 495.0, n: 1000 });
        let one = Distribution::of_cycles(vec![3], 1e9);
        assert_eq!(one, Distribution { p50: 3.0, p99: 3.0, n: 1 });
    }

    #[test]
    fn one_bad_round_changes_nothing() {
        let round = |p50| Distribution { p50, p99: 2.0 * p50, n: 10 };
        let rounds = [round(5.0), round(900.0), round(4.0)];
        let all = Distribution::over_rounds(rounds.into_iter());
        assert_eq!(all, Distribution { p50: 5.0, p99: 10.0, n: 30 });
    }

    #[test]
    fn median_of_an_even_number_lies_between() {
        assert_eq!(median([4.0, 1.0, 2.0, 30.0].into_iter()), 3.0);
    }
}
