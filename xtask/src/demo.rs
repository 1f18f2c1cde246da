//! `./x demo`: the main job once, then the same compute benchmarks in the LWK and as a host process, side by side.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use serde_json::Value;

use crate::{
    command::{line, output, run as run_command},
    dist,
    error::Error,
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

/// Builds, says hello, compares.
pub fn run() -> Result<ExitCode, Error> {
    eprintln!("building (the first time takes a minute or two)");
    let dist = dist::build()?.dir;
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
    println!(
        "  dist/margay host                                what this machine can do, and how to get more"
    );
    println!("  dist/margay run --stats images/nodes/hello.toml  where boot time and calls go");
    println!(
        "  ./x node -- margay host                         the same on a (virtual) machine with real KVM"
    );
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
