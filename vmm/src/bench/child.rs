//! Runs the benchmark program, on Linux and in an LWK, as a user would.
//!
//! The LWK is started by `margay run` in a process of its own: the figures are then those that a user gets, and whatever
//! happens to the guest, the benchmark only sees an exit status.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use margay_abi::boot::{Delegation, Isolation};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::stats::Distribution;
use super::{BenchError, Cores};
use crate::partition::Partition;

/// Memory of the LWK: the program needs little, and less memory is less to prepare.
const LWK_MEMORY: &str = "256M";

/// What runs the benchmark program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// A process of the host's Linux, bound to the LWK's core.
    Host,
    /// An LWK on that core, with this delegation path.
    Lwk(Delegation),
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Place::Host => "on Linux",
            Place::Lwk(Delegation::Queue) => "in the LWK (queue)",
            Place::Lwk(Delegation::Hypercall) => "in the LWK (hypercall)",
        }
    }
}

/// The programs, and where to run them.
#[derive(Clone, Debug)]
pub struct Runner {
    margay: PathBuf,
    bench: PathBuf,
    cores: Cores,
    isolation: Isolation,
    spin: Duration,
}

/// A line of `margay-bench syscall --json`.
#[derive(Clone, Debug, Deserialize)]
pub struct LatencyLine {
    name: String,
    p50: f64,
    p99: f64,
    n: u64,
    tsc_hz: f64,
}

/// A line of another benchmark.
#[derive(Clone, Debug, Deserialize)]
struct FigureLine {
    metric: String,
    value: f64,
}

impl Runner {
    /// Finds the programs: `margay` is this one, `margay-bench` lies beside it. They run on the first cores of the
    /// partition and in its isolation mode.
    ///
    /// # Errors
    /// [`BenchError::NoBenchProgram`] when it does not; [`BenchError::OwnPath`] when this program's own path is unknown.
    pub fn new(partition: &Partition) -> Result<Runner, BenchError> {
        let margay = std::env::current_exe().map_err(BenchError::OwnPath)?;
        let bench = margay.with_file_name("margay-bench");
        if !bench.is_file() {
            return Err(BenchError::NoBenchProgram(bench));
        }
        let (cores, isolation) = (Cores::of(partition), partition.lwks[0].isolation);
        Ok(Runner { margay, bench, cores, isolation, spin: partition.service.spin })
    }

    /// Measures the system calls of a place, with `samples` samples of each.
    ///
    /// # Errors
    /// [`BenchError::Start`], [`BenchError::Failed`], [`BenchError::Unreadable`].
    pub fn syscalls(&self, place: Place, samples: u32) -> Result<Latencies, BenchError> {
        let samples = samples.to_string();
        let mut args = vec!["syscall", "--json", "--samples", &samples];
        // Linux has no VMM to exit to.
        if place != Place::Host {
            args.push("--probe-exit");
        }
        let args: Vec<&OsStr> = args.into_iter().map(OsStr::new).collect();
        let (what, output) = self.run(place, &args)?;
        parse_lines(&output)
            .map(|lines| Latencies { what: what.clone(), lines })
            .ok_or(BenchError::Unreadable { what, wanted: "system calls" })
    }

    /// Measures how fast a place reads `file` in reads of 1 MiB: the median pass, in GB/s.
    ///
    /// # Errors
    /// [`BenchError::Start`], [`BenchError::Failed`], [`BenchError::Unreadable`].
    pub fn read_gbs(&self, place: Place, file: &OsStr) -> Result<f64, BenchError> {
        let words = ["--block", "1M", "--json"].map(OsStr::new);
        let args = [&[OsStr::new("read"), file], words.as_slice()].concat();
        let (what, output) = self.run(place, &args)?;
        let lines: Option<Vec<FigureLine>> = parse_lines(&output);
        let median = lines.and_then(|lines| lines.into_iter().find(|l| l.metric == "median"));
        median.map(|line| line.value).ok_or(BenchError::Unreadable { what, wanted: "reading" })
    }

    /// Runs the benchmark program to its end. Returns what was run, for messages, and its standard output.
    fn run(&self, place: Place, args: &[&OsStr]) -> Result<(String, Vec<u8>), BenchError> {
        let what = format!("margay-bench {} {}", args[0].to_string_lossy(), place.name());
        let (mut command, node) = self.command(place, args);
        let output = run_with_input(&mut command, node.as_bytes()).map_err(|source| {
            BenchError::Start { program: OsString::from(command.get_program()).into(), source }
        })?;
        if !output.status.success() {
            return Err(BenchError::Failed { what, status: output.status });
        }
        Ok((what, output.stdout))
    }

    /// The command, and its standard input: a node file for `margay`, which thus need not be in any folder.
    fn command(&self, place: Place, args: &[&OsStr]) -> (Command, String) {
        match place {
            Place::Host => {
                let mut command = Command::new(&self.bench);
                command.arg("--cpu").arg(self.cores.lwk.to_string()).args(args);
                (command, String::new())
            }
            Place::Lwk(delegation) => {
                let mut command = Command::new(&self.margay);
                command.args(["run", "/dev/stdin", "--"]).arg(&self.bench).args(args);
                (command, self.node(delegation))
            }
        }
    }

    fn node(&self, delegation: Delegation) -> String {
        let Cores { service, lwk } = self.cores;
        let delegation = match delegation {
            Delegation::Queue => "queue",
            Delegation::Hypercall => "hypercall",
        };
        let spin = self.spin.as_micros();
        let isolation = match self.isolation {
            Isolation::Protected => "protected",
            Isolation::Fused => "fused",
        };
        format!(
            "[service]\nkind = \"host\"\ncores = [{service}]\nspin_us = {spin}\n\n\
             [[lwk]]\nname = \"bench\"\ncores = [{lwk}]\n\
             memory = \"{LWK_MEMORY}\"\nisolation = \"{isolation}\"\ndelegation = \"{delegation}\"\n"
        )
    }
}

/// The latencies that a run of the benchmark program reported.
#[derive(Clone, Debug)]
pub struct Latencies {
    what: String,
    lines: Vec<LatencyLine>,
}

impl Latencies {
    /// The latency of a call, in ns.
    ///
    /// # Errors
    /// [`BenchError::Unreadable`] when the run did not report it.
    pub fn get(&self, call: &'static str) -> Result<Distribution, BenchError> {
        let line = self.lines.iter().find(|line| line.name == call && line.tsc_hz > 0.0);
        let line =
            line.ok_or_else(|| BenchError::Unreadable { what: self.what.clone(), wanted: call })?;
        let ns = |cycles: f64| cycles * 1e9 / line.tsc_hz;
        Ok(Distribution { p50: ns(line.p50), p99: ns(line.p99), n: line.n })
    }
}

/// Runs a command with `input` on its standard input and collects its standard output.
fn run_with_input(command: &mut Command, input: &[u8]) -> io::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // Less than a pipe holds, so this does not wait for the child to read it. A child that is gone already says more by
    // its status than by the broken pipe.
    let _ = take_stdin(&mut child).write_all(input);
    child.wait_with_output()
}

fn take_stdin(child: &mut Child) -> impl Write {
    child.stdin.take().expect("its standard input was just made a pipe")
}

/// Parses JSON lines; `None` if one is not a `T`, or if there is none.
fn parse_lines<T: DeserializeOwned>(output: &[u8]) -> Option<Vec<T>> {
    let lines: Vec<T> =
        serde_json::Deserializer::from_slice(output).into_iter().collect::<Result<_, _>>().ok()?;
    (!lines.is_empty()).then_some(lines)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use margay_abi::boot::{Delegation, Isolation};
    use proptest::prelude::{any, proptest};

    use super::{Cores, Latencies, LatencyLine, Runner, parse_lines, run_with_input};
    use crate::config::{NodeConfig, Source};
    use crate::units::CoreId;

    const LINES: &[u8] = br#"{"name":"getpid","unit":"cycles","p50":200.0,"p99":400.0,"n":500,"batch":1000,"tsc_hz":2e9}
{"name":"getppid","unit":"cycles","p50":2000.0,"p99":4000.0,"n":900,"batch":1,"tsc_hz":2e9}
"#;

    #[test]
    fn latencies_come_in_nanoseconds() {
        let latencies = Latencies { what: String::new(), lines: parse_lines(LINES).unwrap() };
        let getppid = latencies.get("getppid").unwrap();
        assert_eq!((getppid.p50, getppid.p99, getppid.n), (1000.0, 2000.0, 900));
        assert!(latencies.get("exit").unwrap_err().to_string().contains("exit"));
    }

    #[test]
    fn every_node_is_a_valid_node_file() {
        for isolation in [Isolation::Fused, Isolation::Protected] {
            let (cores, spin) =
                (Cores { service: CoreId(3), lwk: CoreId(5) }, Duration::from_micros(7));
            let runner = Runner {
                margay: "margay".into(),
                bench: "margay-bench".into(),
                cores,
                isolation,
                spin,
            };
            for delegation in [Delegation::Queue, Delegation::Hypercall] {
                let text = runner.node(delegation);
                let node = NodeConfig::parse(Source { path: "-".into(), text }).unwrap();
                assert_eq!(node.lwks[0].delegation, delegation);
                assert_eq!(node.service.spin, spin);
            }
        }
    }

    #[test]
    fn a_child_reads_its_input_and_may_also_ignore_it() {
        let output = run_with_input(&mut Command::new("cat"), b"node").unwrap();
        assert_eq!(output.stdout, b"node");
        assert!(!run_with_input(&mut Command::new("false"), b"node").unwrap().status.success());
    }

    proptest! {
        #[test]
        fn any_output_is_figures_or_none(output in any::<Vec<u8>>()) {
            let _ = parse_lines::<LatencyLine>(&output);
        }
    }
}
