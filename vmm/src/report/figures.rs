//! What `--stats` prints: boot time and where it went, memory, calls with their latency, exits.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use margay_abi::calls::{CALLS, Route};
use margay_abi::layout;
use margay_abi::stats::CallStats;
use margay_abi::status::StatusPage;
use serde::Serialize;

use crate::lwk::vcpu::Outcome;
use crate::lwk::{Finished, Milestones};
use crate::memory::Backing;
use crate::text;

/// Nanoseconds from the request to the program's first instruction, in steps.
#[derive(Clone, Debug, Serialize)]
pub struct Boot {
    /// Guest memory: collapsed, populated, locked.
    pub memory_ns: u64,
    /// VM, vCPU, interrupt controller, image.
    pub vm_ns: u64,
    /// Proxy started, boot record written.
    pub proxy_ns: u64,
    /// Thread started, guest entered.
    pub entry_ns: u64,
    /// PVH entry to the LWK's first Rust instruction.
    pub lwk_entry_ns: u64,
    /// The LWK's own set-up.
    pub lwk_init_ns: u64,
    /// Loading the program.
    pub load_ns: u64,
    /// From creating the VM to the program's first instruction.
    pub kvm_create_to_user_ns: u64,
    /// All of it.
    pub total_ns: u64,
}

/// Memory figures, in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Memory {
    /// Of the partition.
    pub partition: u64,
    /// Kept by the LWK.
    pub kept_by_lwk: u64,
    /// Used by the program at its end.
    pub used: u64,
    /// The most that the program used.
    pub peak: u64,
    /// Page size of the backing: "2 MiB" or "4 KiB".
    pub pages: &'static str,
    /// Whether the host may not swap it.
    pub locked: bool,
}

/// One system call's figures.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Its name.
    pub name: String,
    /// "local", "split", "delegated" or "refused".
    pub route: &'static str,
    /// How often it was made.
    pub count: u64,
    /// Median latency.
    pub p50_ns: u64,
    /// 99th-percentile latency.
    pub p99_ns: u64,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The LWK's name.
    pub lwk: String,
    /// Boot time.
    pub boot: Boot,
    /// Memory.
    pub memory: Memory,
    /// Calls, most frequent first.
    pub calls: Vec<Call>,
    /// Exits by reason.
    pub exits: std::collections::BTreeMap<&'static str, u64>,
    /// Calls through the slow entry of fused mode.
    pub escapes: u64,
    /// Call sites rewritten.
    pub rewritten_sites: u64,
    /// Times the LWK's core was halted.
    pub halts: u64,
}

impl Figures {
    /// Reads the figures of an LWK that has ended.
    pub fn collect(lwk: &str, finished: &Finished) -> Figures {
        let (memory, outcome, status) = (&finished.memory, &finished.outcome, finished.status());
        let hz = u128::from(finished.tsc_hz);
        let ns = |cycles: u64| (u128::from(cycles) * 1_000_000_000 / hz) as u64;
        Figures {
            lwk: lwk.to_owned(),
            boot: boot(status, outcome, &finished.milestones, ns),
            memory: Memory {
                partition: memory.bytes(),
                kept_by_lwk: status.kept_bytes.load(Relaxed),
                used: status.used_bytes.load(Relaxed),
                peak: status.peak_bytes.load(Relaxed),
                pages: if *memory.backing() == Backing::Large { "2 MiB" } else { "4 KiB" },
                locked: memory.locked(),
            },
            calls: calls(memory.shared::<CallStats>(layout::CALL_STATS), ns),
            exits: outcome.exits.iter().collect(),
            escapes: status.escapes.load(Relaxed),
            rewritten_sites: status.rewritten.load(Relaxed),
            halts: status.halts.load(Relaxed),
        }
    }

    /// As one line of JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and names can be written as JSON")
    }
}

fn boot(status: &StatusPage, outcome: &Outcome, at: &Milestones, ns: impl Fn(u64) -> u64) -> Boot {
    let [kernel, load, user] =
        [&status.tsc_kernel, &status.tsc_load, &status.tsc_user].map(|tsc| tsc.load(Relaxed));
    let step = |from: u64, to: u64| ns(to.saturating_sub(from));
    Boot {
        memory_ns: step(at.start, at.memory),
        vm_ns: step(at.memory, at.vm),
        proxy_ns: step(at.request, at.launch),
        entry_ns: step(at.launch, outcome.tsc_entered),
        lwk_entry_ns: step(outcome.tsc_entered, kernel),
        lwk_init_ns: step(kernel, load),
        load_ns: step(load, user),
        kvm_create_to_user_ns: step(at.memory, at.vm) + step(at.request, user),
        total_ns: step(at.start, at.vm) + step(at.request, user),
    }
}

fn calls(stats: &CallStats, ns: impl Fn(u64) -> u64) -> Vec<Call> {
    let mut calls: Vec<Call> = (0..stats.counts.len())
        .filter_map(|nr| {
            let histogram = stats.histogram(nr)?;
            let entry = CALLS.iter().find(|call| call.nr as usize == nr);
            Some(Call {
                name: entry.map_or_else(|| format!("call_{nr}"), |call| call.name.to_owned()),
                route: match entry.map(|call| call.route) {
                    Some(Route::Local) => "local",
                    Some(Route::Split) => "split",
                    Some(Route::Delegate) => "delegated",
                    Some(Route::Refuse(_)) | None => "refused",
                },
                count: stats.counts[nr].load(Relaxed),
                p50_ns: ns(histogram.quantile(0.5)?),
                p99_ns: ns(histogram.quantile(0.99)?),
            })
        })
        .collect();
    calls.sort_by_key(|call| std::cmp::Reverse(call.count));
    calls
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let boot = &self.boot;
        let time = |ns: u64| text::duration(ns as f64);
        writeln!(f, "boot to the program's first instruction  {}", time(boot.total_ns))?;
        for (what, ns) in [
            ("guest memory (large pages, populated)", boot.memory_ns),
            ("VM, vCPU, image", boot.vm_ns),
            ("proxy, boot record", boot.proxy_ns),
            ("thread, first entry", boot.entry_ns),
            ("LWK: PVH entry to Rust", boot.lwk_entry_ns),
            ("LWK: page tables, heap, channel", boot.lwk_init_ns),
            ("LWK: loading the program", boot.load_ns),
        ] {
            writeln!(f, "  {what:<38} {}", time(ns))?;
        }
        let memory = &self.memory;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        writeln!(
            f,
            "memory  {:.0} MiB on {} pages{}, {:.1} MiB kept by the LWK ({:.2} %), program at most {:.1} MiB",
            mib(memory.partition),
            memory.pages,
            if memory.locked { ", locked" } else { "" },
            mib(memory.kept_by_lwk),
            memory.kept_by_lwk as f64 * 100.0 / memory.partition as f64,
            mib(memory.peak),
        )?;
        writeln!(f, "system calls           route      count       p50       p99")?;
        for call in &self.calls {
            let (p50, p99) = (time(call.p50_ns), time(call.p99_ns));
            writeln!(
                f,
                "  {:<20} {:<9} {:>6} {p50:>9} {p99:>9}",
                call.name, call.route, call.count
            )?;
        }
        writeln!(
            f,
            "slow `syscall` entries {}, sites rewritten {}, core halted {} times",
            self.escapes, self.rewritten_sites, self.halts
        )?;
        let exits: Vec<String> =
            self.exits.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        writeln!(f, "exits to the VMM: {}", exits.join(", "))
    }
}
