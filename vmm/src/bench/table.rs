//! The figures as a table for people, each beside what it is compared with.

use std::fmt;

use super::figures::Figures;
use super::stats::Distribution;

/// What a ratio should be.
#[derive(Clone, Copy)]
enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// The floor or peer that a figure is compared with.
struct Comparison {
    /// The other figure's name.
    with: &'static str,
    /// The other figure.
    value: String,
    ratio: f64,
    target: Target,
}

struct Row {
    figure: String,
    p50: String,
    p99: String,
    comparison: Option<Comparison>,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = &self.host;
        writeln!(f, "Linux {} on {}; KVM: {}", host.kernel, host.cpu, host.kvm)?;
        let cores = host.cores;
        let rounds = host.rounds;
        writeln!(
            f,
            "service core {}, LWK core {}, {}; medians of {rounds} rounds\n",
            cores.service, cores.lwk, host.isolation
        )?;
        writeln!(
            f,
            "{:<32} {:>10} {:>10}   {:<18} {:>10} {:>7}   target",
            "figure", "p50", "p99", "beside", "p50", "ratio"
        )?;
        self.rows().iter().try_for_each(|row| row.fmt(f))
    }
}

impl Figures {
    fn rows(&self) -> Vec<Row> {
        let ratios = &self.ratios;
        let floor = self.floor_ns;
        vec![
            Row::latency("cache-line ping-pong", floor),
            Row::latency("exit to the VMM and back", self.exit_ns),
            Row::latency("getpid on Linux", self.host_getpid_ns),
            Row::latency("getpid in the LWK", self.local_getpid_ns).beside(
                "Linux",
                self.host_getpid_ns,
                ratios.local_getpid,
                0.25,
            ),
            Row::latency("delegated getppid, queue", self.delegated_queue_ns).beside(
                "ping-pong",
                floor,
                ratios.delegated_queue,
                2.5,
            ),
            Row::latency("delegated getppid, hypercall", self.delegated_hypercall_ns).beside(
                "exit",
                self.exit_ns,
                ratios.delegated_hypercall,
                1.5,
            ),
            Row {
                figure: format!("read of {} in the LWK", self.read_bytes),
                p50: format!("{:.2} GB/s", self.read_lwk_gbs),
                p99: String::new(),
                comparison: Some(Comparison {
                    with: "Linux",
                    value: format!("{:.2} GB/s", self.read_host_gbs),
                    ratio: ratios.read,
                    target: Target::AtLeast(0.9),
                }),
            },
        ]
    }
}

impl Row {
    fn latency(figure: &str, latency: Distribution) -> Row {
        Row {
            figure: figure.to_owned(),
            p50: time(latency.p50),
            p99: time(latency.p99),
            comparison: None,
        }
    }

    fn beside(self, with: &'static str, other: Distribution, ratio: f64, at_most: f64) -> Row {
        let target = Target::AtMost(at_most);
        let comparison = Some(Comparison { with, value: time(other.p50), ratio, target });
        Row { comparison, ..self }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row { figure, p50, p99, .. } = self;
        let Some(Comparison { with, value, ratio, target }) = &self.comparison else {
            return writeln!(f, "{figure:<32} {p50:>10} {p99:>10}");
        };
        writeln!(
            f,
            "{figure:<32} {p50:>10} {p99:>10}   {with:<18} {value:>10} {ratio:>6.2}x   {}",
            target.verdict(*ratio)
        )
    }
}

impl Target {
    fn verdict(self, ratio: f64) -> String {
        let (sign, bound, is_met) = match self {
            Target::AtMost(bound) => ("<=", bound, ratio <= bound),
            Target::AtLeast(bound) => (">=", bound, ratio >= bound),
        };
        format!("{sign} {bound:.2}x {}", if is_met { "met" } else { "missed" })
    }
}

/// A time in the unit that reads best.
fn time(ns: f64) -> String {
    match ns {
        ..1e3 => format!("{ns:.1} ns"),
        1e3..1e6 => format!("{:.2} us", ns / 1e3),
        _ => format!("{:.2} ms", ns / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::{Target, time};
    use crate::bench::figures::tests::example;

    #[test]
    fn every_figure_stands_beside_its_floor_and_target() {
        let table = example().to_string();
        let row = |name| {
            table.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{table}"))
        };
        let words: Vec<_> = row("delegated getppid, queue").split_whitespace().skip(3).collect();
        assert_eq!(
            words,
            ["1.00", "us", "2.00", "us", "ping-pong", "500.0", "ns", "2.00x", "<=", "2.50x", "met"]
        );
        assert!(row("getpid in the LWK").contains("0.20x   <= 0.25x met"));
        assert!(row("read of 1 GiB").contains("9.50 GB/s"));
        assert!(table.lines().all(|line| line.len() <= 120), "{table}");
    }

    #[test]
    fn a_missed_target_says_so() {
        assert_eq!(Target::AtMost(2.5).verdict(2.6), "<= 2.50x missed");
        assert_eq!(Target::AtLeast(0.9).verdict(0.8), ">= 0.90x missed");
        assert_eq!(Target::AtLeast(0.9).verdict(0.9), ">= 0.90x met");
    }

    #[test]
    fn times_choose_their_unit() {
        assert_eq!(time(21.34), "21.3 ns");
        assert_eq!(time(1_020.0), "1.02 us");
        assert_eq!(time(2_500_000.0), "2.50 ms");
    }
}
