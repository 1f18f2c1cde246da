//! `./x test`: everything that must hold, in stages.
//!
//! A stage that fails does not stop the others, so that one run tells everything. Nothing is left out in silence: where
//! this machine's KVM cannot run the whole-system tests, that is said, and the virtual node still runs them.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    command::{cargo, line, output, run as run_command},
    demo,
    dist::{self, MUSL, bare},
    error::{self, Error},
    node::{BootMessages, Job},
    paths, programs,
};

/// The crates that build for the host; `lwk-guest` has a target of its own.
const HOST_CRATES: &str = "--workspace --exclude lwk-guest --quiet";
/// What to test in the virtual node: both isolation modes on true KVM. Its KVM can do fused/hypercall too, but that
/// is tested natively wherever fused mode is, and each mode takes minutes there.
const NODE_MODES: &str = "protected/queue,protected/hypercall,fused/queue";
/// Under emulation a boot of the LWK takes about a second, and there are hundreds: some ten minutes, with room for a slow machine.
const NODE_TIME_LIMIT: Duration = Duration::from_secs(1800);

/// What `./x test` takes.
#[derive(clap::Args)]
pub struct TestArgs {
    /// Stages to run, by default all
    stages: Vec<Stage>,
    /// Whole-system tests whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

/// A part of the tests.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Stage {
    /// Formatting
    Format,
    /// Lints, of the host's crates and of the LWK
    Lint,
    /// API documentation, without warnings
    Doc,
    /// Unit tests, the channel's loom models among them
    Unit,
    /// Whole-system tests on this machine's KVM
    Native,
    /// Whole-system tests in the virtual node
    Node,
    /// What `./x demo --node` shows
    Demo,
}

impl Stage {
    const ALL: [Stage; 7] = [
        Stage::Format,
        Stage::Lint,
        Stage::Doc,
        Stage::Unit,
        Stage::Native,
        Stage::Node,
        Stage::Demo,
    ];

    const fn title(self) -> &'static str {
        match self {
            Stage::Format => "formatting",
            Stage::Lint => "lints",
            Stage::Doc => "documentation",
            Stage::Unit => "unit tests",
            Stage::Native => "whole-system tests on this machine",
            Stage::Node => "whole-system tests in the virtual node",
            Stage::Demo => "demo in the virtual node",
        }
    }
}

/// Runs the stages and sums up.
pub fn run(args: &TestArgs) -> Result<ExitCode, Error> {
    let stages = if args.stages.is_empty() { &Stage::ALL[..] } else { &args.stages };
    let mut failed = Vec::new();
    for &stage in stages {
        println!("== {}", stage.title());
        let start = Instant::now();
        match run_stage(stage, &args.only) {
            Ok(()) => println!("== {}: good, {} s\n", stage.title(), start.elapsed().as_secs()),
            Err(error) => {
                println!("== {}: FAILED: {}\n", stage.title(), error::chain(&error));
                failed.push(stage.title());
            }
        }
    }
    if failed.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(Error::Stages(failed)) }
}

fn run_stage(stage: Stage, only: &str) -> Result<(), Error> {
    match stage {
        Stage::Format => run_command(&mut cargo("fmt --all --check")),
        Stage::Lint => {
            let deny = ["--", "-D", "warnings"];
            run_command(cargo("clippy --all-targets").args(words(HOST_CRATES)).args(deny))?;
            run_command(bare(cargo("clippy -p lwk-guest --quiet")).args(deny))
        }
        Stage::Doc => {
            let deny = ("RUSTDOCFLAGS", "-D warnings");
            let mut host = cargo("doc --no-deps");
            run_command(host.args(words(HOST_CRATES)).env(deny.0, deny.1))?;
            run_command(bare(cargo("doc --no-deps -p lwk-guest --quiet")).env(deny.0, deny.1))
        }
        Stage::Unit => run_command(cargo("test --no-fail-fast").args(words(HOST_CRATES))),
        Stage::Native => native(&System::build()?, only),
        Stage::Node => in_node(&System::build()?, only),
        Stage::Demo => {
            dist::build()?;
            in_node_result(demo::in_node()?)
        }
    }
}

fn words(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split(' ')
}

/// Everything that the whole-system tests need.
struct System {
    dist: PathBuf,
    programs: PathBuf,
    tests: PathBuf,
}

impl System {
    fn build() -> Result<System, Error> {
        let dist = dist::build()?.dir;
        let programs = programs::build()?.dir;
        let mut build =
            cargo("test -p margay-tests --test system --no-run --message-format json --quiet");
        build.args(["--target", MUSL, "--config", "profile.dev.strip=true"]);
        let messages = output(&mut build)?;
        let executable = |text: &str| -> Option<PathBuf> {
            let message: Value = serde_json::from_str(text).ok()?;
            Some(message.get("executable")?.as_str()?.into())
        };
        match messages.lines().find_map(executable) {
            Some(tests) => Ok(System { dist, programs, tests }),
            None => Err(Error::Output { command: line(&build), output: messages }),
        }
    }
}

/// One test at a time: each has an LWK's core for itself.
const ONE_AT_A_TIME: &str = "--test-threads=1";

fn native(system: &System, only: &str) -> Result<(), Error> {
    let facts = host_facts(&system.dist)?;
    let modes = native_modes(&facts);
    if modes.is_empty() {
        println!("   this machine's KVM cannot run an LWK (see `margay host`);");
        println!("   the virtual node runs these tests instead");
        return Ok(());
    }
    println!("   modes: {modes}");
    let mut tests = Command::new(&system.tests);
    if facts["verdict"]["service_vm"]["available"] != true || cores() < SERVICE_VM_CORES {
        println!(
            "   without `service_vm`: this machine cannot boot a service VM and have two LWKs beside it;"
        );
        println!("   the virtual node runs these tests instead");
        tests.args(["--skip", SERVICE_VM]);
    }
    tests.args([ONE_AT_A_TIME, only]).env("MARGAY_DIST", &system.dist);
    tests.env("MARGAY_TEST_PROGRAMS", &system.programs).env("MARGAY_TEST_MODES", modes);
    run_command(&mut tests)
}

/// Name of the tests of service VMs.
const SERVICE_VM: &str = "service_vm::";
/// Cores that they need.
const SERVICE_VM_CORES: usize = 4;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What `margay host` knows of this machine.
fn host_facts(dist: &Path) -> Result<Value, Error> {
    let mut host = Command::new(dist.join("margay"));
    let text = output(host.args(["host", "--json"]))?;
    serde_json::from_str(&text).map_err(|_| Error::Output { command: line(&host), output: text })
}

/// The modes that this machine offers, for `MARGAY_TEST_MODES`.
fn native_modes(facts: &Value) -> String {
    let offered = |mode: &&str| facts["verdict"][mode]["available"] == true;
    let isolations = ["fused", "protected"].into_iter().filter(offered);
    let modes = isolations.flat_map(|mode| [format!("{mode}/queue"), format!("{mode}/hypercall")]);
    modes.collect::<Vec<_>>().join(",")
}

fn in_node(system: &System, only: &str) -> Result<(), Error> {
    let variables = [
        "MARGAY_DIST=/margay",
        "MARGAY_TEST_PROGRAMS=/programs",
        "MARGAY_TEST_IN_NODE=1",
        &format!("MARGAY_TEST_MODES={NODE_MODES}"),
    ];
    let command =
        ["env"].into_iter().chain(variables).chain(["/system-tests", ONE_AT_A_TIME, only]);
    let job = Job {
        cpus: 4,
        memory: "4G".to_owned(),
        files: vec![
            (system.tests.clone(), "system-tests".to_owned()),
            (system.programs.clone(), "programs".to_owned()),
            (paths::root().join("docs"), "usr/share/doc/margay".to_owned()),
        ],
        time_limit: NODE_TIME_LIMIT,
        boot_messages: BootMessages::Keep,
        command: command.map(OsString::from).collect(),
    };
    println!("   modes: {NODE_MODES}");
    in_node_result(job.run()?)
}

fn in_node_result(status: u8) -> Result<(), Error> {
    match status {
        0 => Ok(()),
        status => Err(Error::InNode(status)),
    }
}
