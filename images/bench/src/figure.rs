//! How results leave the program: JSON lines for other programs, a table for people.

use std::io::{self, Write};

use serde::Serialize;

use crate::error::BenchError;

/// A speed that a benchmark reached.
#[derive(Debug, Serialize)]
pub struct Figure {
    /// The benchmark.
    pub name: &'static str,
    /// Which of the benchmark's figures this is.
    pub metric: &'static str,
    /// Unit of `value`. Rates, of which more is better; for noise, times and parts, of which less is.
    pub unit: &'static str,
    /// The figure.
    pub value: f64,
    /// Wall time that the figure was measured over, all passes together.
    pub seconds: f64,
    /// Timed passes.
    pub n: u32,
    /// What was checked, and with what result.
    pub checks: String,
}

/// The latency of one system call, in TSC cycles.
#[derive(Debug, Serialize)]
pub struct Latency {
    /// The call: `getpid`, `getppid` or `exit`.
    pub name: &'static str,
    /// Always `cycles`.
    pub unit: &'static str,
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Number of samples.
    pub n: u32,
    /// Calls in each sample; the sample is their mean.
    pub batch: u32,
    /// TSC cycles per second, measured against `CLOCK_MONOTONIC`.
    pub tsc_hz: f64,
}

/// How to print.
#[derive(Clone, Copy, Debug)]
pub enum Output {
    /// One object a line.
    Json,
    /// Columns.
    Table,
}

impl Output {
    /// Prints speeds.
    ///
    /// # Errors
    /// [`BenchError::Output`] when standard output does not take them.
    pub fn figures(self, figures: &[Figure]) -> Result<(), BenchError> {
        self.print(figures, |out, f| {
            let Figure { name, metric, value, unit, seconds, n, checks } = f;
            writeln!(
                out,
                "{name:<8} {metric:<16} {value:>10.3} {unit:<9} {n:>3} x, {seconds:.3} s; {checks}"
            )
        })
    }

    /// Prints latencies.
    ///
    /// # Errors
    /// [`BenchError::Output`] when standard output does not take them.
    pub fn latencies(self, latencies: &[Latency]) -> Result<(), BenchError> {
        self.print(latencies, |out, l| {
            let (name, n) = (l.name, l.n);
            let ns = |cycles: f64| cycles * 1e9 / l.tsc_hz;
            writeln!(
                out,
                "{name:<8} p50 {:>10.1} ns  p99 {:>10.1} ns  {n:>6} x",
                ns(l.p50),
                ns(l.p99)
            )
        })
    }

    fn print<T: Serialize>(
        self,
        items: &[T],
        row: impl Fn(&mut io::StdoutLock<'_>, &T) -> io::Result<()>,
    ) -> Result<(), BenchError> {
        let mut out = io::stdout().lock();
        for item in items {
            match self {
                Output::Json => serde_json::to_writer(&mut out, item)
                    .map_err(io::Error::from)
                    .and_then(|()| writeln!(out)),
                Output::Table => row(&mut out, item),
            }
            .map_err(BenchError::Output)?;
        }
        out.flush().map_err(BenchError::Output)
    }
}
