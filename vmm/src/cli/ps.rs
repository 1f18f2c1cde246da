//! `margay ps`, `margay stat`: what a node's parts are at.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use clap::Args;

use crate::cli::client::{self, NodeArgs};
use crate::cli::{CliError, print_json};
use crate::control::message::{Reply, Request};
use crate::exit::Exit;
use crate::node::status::{LwkState, LwkStatus, NodeStatus, ServiceState};
use crate::text;

/// Arguments of `margay ps`.
#[derive(Debug, Args)]
pub struct PsArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Print data for programs
    #[arg(long)]
    json: bool,
}

/// Arguments of `margay stat`.
#[derive(Debug, Args)]
pub struct StatArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Once a second, with rates, until interrupted
    #[arg(long)]
    watch: bool,
    /// Boot time, calls with their latency and exits of the last program of this LWK (latencies with `exec --stats`)
    #[arg(long, value_name = "LWK", conflicts_with = "watch")]
    calls: Option<String>,
    /// Print data for programs
    #[arg(long)]
    json: bool,
}

/// Shows who runs what.
pub(super) fn ps(args: &PsArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    let status = status(&args.node)?;
    if args.json {
        print_json(out, &status)?;
        return Ok(Exit::Success);
    }
    let service = &status.service;
    writeln!(
        out,
        "node {}: process {}, up {}; service OS: {} on cores {}, {}",
        status.name,
        status.pid,
        age(status.since),
        service.kind,
        service.cores,
        service_word(&service.state)
    )?;
    writeln!(
        out,
        "{:<12} {:<8} {:>6} {:>8} {:>6} {:>7} {:>9}  COMMAND",
        "LWK", "STATE", "CORES", "MEMORY", "BOOTS", "PID", "SINCE"
    )?;
    for lwk in &status.lwks {
        write_lwk(lwk, out)?;
    }
    write_troubles(&status, out)?;
    Ok(Exit::Success)
}

fn write_lwk(lwk: &LwkStatus, out: &mut impl Write) -> Result<(), CliError> {
    let (command, pid, since) = match &lwk.state {
        LwkState::Running { command, pid, since } | LwkState::Hung { command, pid, since, .. } => {
            (command.clone(), pid.to_string(), age(*since))
        }
        LwkState::Starting { command } => (command.clone(), String::new(), String::new()),
        _ => {
            let last = lwk.last_end.as_ref().map(|end| format!("(last: {end})"));
            (last.unwrap_or_default(), String::new(), String::new())
        }
    };
    let memory = format!("{} MiB", lwk.memory >> 20);
    let line = format!(
        "{:<12} {:<8} {:>6} {memory:>8} {:>6} {pid:>7} {since:>9}  {command}",
        lwk.name,
        word(&lwk.state),
        lwk.cores,
        lwk.boots
    );
    writeln!(out, "{}", line.trim_end())?;
    Ok(())
}

/// What went wrong, at length.
fn write_troubles(status: &NodeStatus, out: &mut impl Write) -> Result<(), CliError> {
    match &status.service.state {
        ServiceState::Hung { silent_since, place } => {
            writeln!(out, "\nthe service VM has not answered for {}:\n{place}", age(*silent_since))?
        }
        ServiceState::Failed { reason } => writeln!(out, "\nthe service VM has failed: {reason}")?,
        ServiceState::Running | ServiceState::Booting => {}
    }
    for lwk in &status.lwks {
        match &lwk.state {
            LwkState::Hung { silent_since, place, .. } => writeln!(
                out,
                "\n{} has taken no interrupt for {}; `margay restart {}` ends its program. It is here:\n{place}",
                lwk.name,
                age(*silent_since),
                lwk.name
            )?,
            LwkState::Failed { reason } => writeln!(
                out,
                "\n{} cannot be booted: {reason}; `margay restart {}` tries again",
                lwk.name, lwk.name
            )?,
            _ => {}
        }
    }
    Ok(())
}

/// Shows what the LWKs count.
pub(super) fn stat(args: &StatArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    if let Some(lwk) = &args.calls {
        let request = Request::Figures { of: lwk.clone(), json: args.json };
        return match client::request(&args.node, &request)?.reply()? {
            Reply::Text(text) => {
                write!(out, "{text}")?;
                Ok(Exit::Success)
            }
            other => Err(CliError::Unexpected(format!("{other:?}"))),
        };
    }
    let mut before = None;
    loop {
        let now = (Instant::now(), status(&args.node)?);
        if args.json {
            print_json(out, &now.1)?;
        } else {
            write_counters(&now, before.as_ref(), out)?;
        }
        out.flush()?;
        if !args.watch {
            return Ok(Exit::Success);
        }
        before = Some(now);
        thread::sleep(Duration::from_secs(1));
    }
}

type Sample = (Instant, NodeStatus);

/// Counters, with the rate of calls since `before`, or since the program's start.
fn write_counters(
    (now, status): &Sample,
    before: Option<&Sample>,
    out: &mut impl Write,
) -> Result<(), CliError> {
    writeln!(
        out,
        "{:<12} {:<8} {:>12} {:>10} {:>8} {:>8} {:>10} {:>10}",
        "LWK", "STATE", "CALLS", "CALLS/S", "SLOW", "HALTS", "MEMORY", "PEAK"
    )?;
    for lwk in &status.lwks {
        let Some(counters) = &lwk.counters else {
            writeln!(out, "{:<12} {:<8}", lwk.name, word(&lwk.state))?;
            continue;
        };
        let earlier = before.and_then(|(then, status)| {
            let old = status.lwks.iter().find(|old| old.name == lwk.name && old.boots == lwk.boots);
            Some((now.duration_since(*then).as_secs_f64(), old?.counters?.calls))
        });
        let (seconds, calls) = earlier.unwrap_or((running_for(&lwk.state), 0));
        let rate = counters.calls.saturating_sub(calls) as f64 / seconds.max(1e-3);
        writeln!(
            out,
            "{:<12} {:<8} {:>12} {rate:>10.0} {:>8} {:>8} {:>10} {:>10}",
            lwk.name,
            word(&lwk.state),
            counters.calls,
            counters.escapes,
            counters.halts,
            format!("{} MiB", counters.used_bytes >> 20),
            format!("{} MiB", counters.peak_bytes >> 20),
        )?;
    }
    Ok(())
}

fn running_for(state: &LwkState) -> f64 {
    match state {
        LwkState::Running { since, .. } | LwkState::Hung { since, .. } => {
            since.elapsed().unwrap_or_default().as_secs_f64()
        }
        _ => 0.0,
    }
}

fn status(node: &NodeArgs) -> Result<NodeStatus, CliError> {
    match client::request(node, &Request::Status)?.reply()? {
        Reply::Status(status) => Ok(*status),
        other => Err(CliError::Unexpected(format!("{other:?}"))),
    }
}

const fn word(state: &LwkState) -> &'static str {
    match state {
        LwkState::Stopped => "STOPPED",
        LwkState::Ready => "READY",
        LwkState::Booting => "BOOTING",
        LwkState::Starting { .. } => "STARTING",
        LwkState::Running { .. } => "RUNNING",
        LwkState::Hung { .. } => "HUNG",
        LwkState::Failed { .. } => "FAILED",
    }
}

const fn service_word(state: &ServiceState) -> &'static str {
    match state {
        ServiceState::Running => "RUNNING",
        ServiceState::Booting => "BOOTING",
        ServiceState::Hung { .. } => "HUNG",
        ServiceState::Failed { .. } => "FAILED",
    }
}

fn age(since: SystemTime) -> String {
    text::age(since.elapsed().unwrap_or_default())
}
