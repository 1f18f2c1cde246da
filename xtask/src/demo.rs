//! `./x demo`: the main job once, then the same compute benchmarks in the LWK and as a host process, side by side.
//!
//! `./x demo --node`: a node's life with a service VM and two LWKs, in the virtual node, which can boot a service VM wherever it runs
//! itself. What is shown is `ci/node/demo`, which also checks it; `./x test` runs it too.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use serde_json::Value;

use crate::{
    command::{line, output, run as run_command},
    dist,
    error::Error,
    node::{BootMessages, Job},
    paths,
};

/// Benchmarks of `margay-bench`, sized to a second or so each.
const BENCHMARKS: [&[&str]; 4] = [
    &["triad"],
    &["dgemm", "--n", "1024", "--passes", "5"],
    &["cg", "--iterations", "50"],
    &["random", "--millions", "8"],
];
/// Runs of each on each side, in turn, so that what else the machine does hits both.
const ROUNDS: usize = 3;
/// Enough for the random-access table of 1 GiB.
const NODE: &str = "[[lwk]]\nname = \"demo\"\nmemory = \"1536M\"\n";

/// Commands, and what they show.
const NEXT: [(&str, &str); 4] = [
    (
        "./x demo --node",
        "a Linux of its own that serves two LWKs, in a (virtual) machine with real KVM",
    ),
    ("dist/margay host", "what this machine can do, and how to get more"),
    ("dist/margay run --stats images/nodes/hello.toml", "where boot time and calls go"),
    ("./x node -- margay host", "any command on that virtual machine"),
];
/// A minute or two on an idle machine.
const NODE_TIME_LIMIT: Duration = Duration::from_secs(600);

/// What `./x demo` takes.
#[derive(clap::Args)]
pub struct DemoArgs {
    /// Shows a node's life in the virtual node instead: a service VM, two LWKs, restarts, a panic
    #[arg(long)]
    node: bool,
}

/// Builds and shows.
pub fn run(args: &DemoArgs) -> Result<ExitCode, Error> {
    eprintln!("building (the first time takes a minute or two)");
    let dist = dist::build()?.dir;
    if args.node {
        eprintln!(
            "booting the virtual node, a machine that QEMU emulates: right in everything but speed"
        );
        return in_node().map(ExitCode::from);
    }
    compare(&dist)
}

/// Runs the demo of a node's life in the virtual node, with `dist/` as it is. Returns its exit status.
pub fn in_node() -> Result<u8, Error> {
    let job = Job {
        cpus: 4,
        memory: "4G".to_owned(),
        files: vec![(paths::root().join("ci/node/demo"), "demo".to_owned())],
        time_limit: NODE_TIME_LIMIT,
        boot_messages: BootMessages::Keep,
        command: ["sh", "/demo"].map(Into::into).into(),
    };
    job.run()
}

/// Says hello, then compares an LWK with the host.
fn compare(dist: &Path) -> Result<ExitCode, Error> {
    let margay = dist.join("margay");
    let hello = dist.join("nodes/hello.toml");
    println!("$ margay run images/nodes/hello.toml");
    run_command(Command::new(&margay).arg("run").arg(&hello))?;

    let folder = tempfile::tempdir().map_err(Error::io("create", &std::env::temp_dir()))?;
    let node = folder.path().join("demo.toml");
    fs::write(&node, NODE).map_err(Error::io("write", &node))?;
    let sides =
        Sides { core: lwk_core(&margay, &node)?, margay, bench: dist.join("margay-bench"), node };
    println!(
        "\nThe same program on core {}, as a host process and in the LWK; medians of {ROUNDS} (a ratio above 1: the LWK is faster):",
        sides.core
    );
    println!("{:<28} {:>10} {:>10} {:>7}  unit", "", "host", "LWK", "ratio");
    for benchmark in BENCHMARKS {
        for (figure, pair) in sides.compare(benchmark)? {
            let (host, lwk) = (median(pair.host), median(pair.lwk));
            println!("{figure:<28} {host:>10.2} {lwk:>10.2} {:>6.2}x  {}", lwk / host, pair.unit);
        }
    }
    println!("\nWhat to try next:");
    for (command, what) in NEXT {
        println!("  {command:<48} {what}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The two ways to run the benchmark.
struct Sides {
    core: u64,
    margay: PathBuf,
    bench: PathBuf,
    node: PathBuf,
}

/// What one figure was on each side.
#[derive(Default)]
struct Pair {
    unit: String,
    host: Vec<f64>,
    lwk: Vec<f64>,
}

impl Sides {
    fn compare(&self, benchmark: &[&str]) -> Result<BTreeMap<String, Pair>, Error> {
        let mut figures: BTreeMap<String, Pair> = BTreeMap::new();
        for _ in 0..ROUNDS {
            let mut host = Command::new(&self.bench);
            host.args(["--json", "--cpu", &self.core.to_string()]).args(benchmark);
            for (name, unit, value) in measure(host)? {
                let pair = figures.entry(name).or_default();
                pair.unit = unit;
                pair.host.push(value);
            }
            let mut lwk = Command::new(&self.margay);
            lwk.arg("run").arg(&self.node).arg("--").arg(&self.bench).arg("--json").args(benchmark);
            for (name, _, value) in measure(lwk)? {
                figures.entry(name).or_default().lwk.push(value);
            }
        }
        Ok(figures)
    }
}

/// Runs the benchmark and reads its figures: name, unit, value.
fn measure(mut command: Command) -> Result<Vec<(String, String, f64)>, Error> {
    let text = output(&mut command)?;
    let figure = |text: &str| -> Option<(String, String, f64)> {
        let figure: Value = serde_json::from_str(text).ok()?;
        let word = |key: &str| Some(figure.get(key)?.as_str()?.to_owned());
        Some((
            format!("{} {}", word("name")?, word("metric")?),
            word("unit")?,
            figure.get("value")?.as_f64()?,
        ))
    };
    let figures: Option<Vec<_>> = text.lines().map(figure).collect();
    figures.ok_or_else(|| Error::Output { command: line(&command), output: text })
}

/// The core that the LWK gets, by `margay check`.
fn lwk_core(margay: &Path, node: &Path) -> Result<u64, Error> {
    let mut check = Command::new(margay);
    let text = output(check.args(["check", "--json"]).arg(node))?;
    let partition: Option<Value> = serde_json::from_str(&text).ok();
    let core = partition.and_then(|partition| partition["lwk"][0]["cores"][0].as_u64());
    core.ok_or_else(|| Error::Output { command: line(&check), output: text })
}

/// The middle value; both sides ran the same number of times, so there is one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
