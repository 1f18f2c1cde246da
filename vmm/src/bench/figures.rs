//! What the rounds of `margay bench syscall` come to: medians, ratios, and where they were measured.

use margay_abi::boot::Isolation;
use serde::Serialize;

use super::Cores;
use super::stats::{Distribution, median};
use crate::host::probe::Engine;
use crate::host::{HostFacts, KvmFacts};
use crate::lwk::clock::measure_tsc_hz;
use crate::units::Bytes;

/// The figures. Its JSON is the output of `margay bench syscall --json`.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Where they were measured.
    pub host: Host,
    /// A cache line to the other core and one back.
    pub floor_ns: Distribution,
    /// `getpid` of a process on the LWK's core.
    pub host_getpid_ns: Distribution,
    /// `getpid` in the LWK, which it answers itself.
    pub local_getpid_ns: Distribution,
    /// `getppid` in the LWK, delegated over the queue.
    pub delegated_queue_ns: Distribution,
    /// `getppid` in the LWK, delegated over the hypercall path.
    pub delegated_hypercall_ns: Distribution,
    /// One exit to the VMM and back.
    pub exit_ns: Distribution,
    /// Ratios to floors and peers.
    pub ratios: Ratios,
    /// Reading a file in the page cache on Linux, GB/s (10^9 bytes).
    pub read_host_gbs: f64,
    /// The same in the LWK.
    pub read_lwk_gbs: f64,
    /// Size of that file in bytes.
    pub read_bytes: Bytes,
}

/// Ratios of medians, each the median of the rounds' ratios: what disturbs a whole round disturbs both sides of it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Ratios {
    /// Delegated call over the queue / floor.
    pub delegated_queue: f64,
    /// Delegated call over the hypercall path / exit.
    pub delegated_hypercall: f64,
    /// `getpid` in the LWK / on Linux.
    pub local_getpid: f64,
    /// Speed of reading in the LWK / on Linux.
    pub read: f64,
}

/// What the figures depend on.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// Linux's release.
    pub kernel: String,
    /// The processor.
    pub cpu: String,
    /// The KVM behind `/dev/kvm`, by what it does.
    pub kvm: String,
    /// How the LWK and its program are kept apart.
    pub isolation: &'static str,
    /// The two cores.
    pub cores: Cores,
    /// The host's TSC cycles per second.
    pub tsc_hz: u64,
    /// Rounds.
    pub rounds: u32,
}

/// One round: everything once, floors and peers beside what is compared with them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    pub floor: Distribution,
    pub host_getpid: Distribution,
    pub local_getpid: Distribution,
    pub queue: Distribution,
    pub hypercall: Distribution,
    pub exit: Distribution,
    pub read_host_gbs: f64,
    pub read_lwk_gbs: f64,
}

impl Figures {
    /// What the rounds come to; one round at least.
    pub(super) fn new(host: Host, rounds: &[Round], read_bytes: Bytes) -> Figures {
        let over =
            |pick: fn(&Round) -> Distribution| Distribution::over_rounds(rounds.iter().map(pick));
        let middle = |pick: fn(&Round) -> f64| median(rounds.iter().map(pick));
        Figures {
            host,
            floor_ns: over(|r| r.floor),
            host_getpid_ns: over(|r| r.host_getpid),
            local_getpid_ns: over(|r| r.local_getpid),
            delegated_queue_ns: over(|r| r.queue),
            delegated_hypercall_ns: over(|r| r.hypercall),
            exit_ns: over(|r| r.exit),
            ratios: Ratios {
                delegated_queue: middle(|r| r.queue.p50 / r.floor.p50),
                delegated_hypercall: middle(|r| r.hypercall.p50 / r.exit.p50),
                local_getpid: middle(|r| r.local_getpid.p50 / r.host_getpid.p50),
                read: middle(|r| r.read_lwk_gbs / r.read_host_gbs),
            },
            read_host_gbs: middle(|r| r.read_host_gbs),
            read_lwk_gbs: middle(|r| r.read_lwk_gbs),
            read_bytes,
        }
    }
}

impl Host {
    pub(super) fn collect(cores: Cores, isolation: Isolation, rounds: u32) -> Host {
        let facts = HostFacts::collect();
        Host {
            kernel: facts.kernel,
            cpu: facts.cores.model,
            kvm: describe_kvm(&facts.kvm),
            isolation: match isolation {
                Isolation::Protected => "protected",
                Isolation::Fused => "fused",
            },
            cores,
            tsc_hz: measure_tsc_hz(),
            rounds,
        }
    }
}

/// What a KVM does with CPL 0, which decides most of the figures, and its modules' names.
fn describe_kvm(kvm: &KvmFacts) -> String {
    let engine = match kvm.behaviour.map(|behaviour| behaviour.cpl0.engine) {
        Some(Engine::Hardware) => "CPL 0 in hardware",
        Some(Engine::Emulated) => "CPL 0 emulated",
        None => "not usable",
    };
    let modules = kvm.modules.join(", ");
    if modules.is_empty() { engine.to_owned() } else { format!("{engine} ({modules})") }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Figures, Host, Round};
    use crate::bench::Cores;
    use crate::bench::stats::Distribution;
    use crate::units::{Bytes, CoreId};

    fn round(slowness: f64) -> Round {
        let ns = |p50: f64| Distribution { p50: p50 * slowness, p99: 2.0 * p50 * slowness, n: 100 };
        Round {
            floor: ns(500.0),
            host_getpid: ns(100.0),
            local_getpid: ns(20.0),
            queue: ns(1000.0),
            hypercall: ns(40_000.0),
            exit: ns(30_000.0),
            read_host_gbs: 10.0 / slowness,
            read_lwk_gbs: 9.5 / slowness,
        }
    }

    /// Figures of three rounds, one of them at half speed.
    pub fn example() -> Figures {
        let host = Host {
            kernel: "6.18.0".into(),
            cpu: "a processor".into(),
            kvm: "a KVM".into(),
            isolation: "fused",
            cores: Cores { service: CoreId(0), lwk: CoreId(1) },
            tsc_hz: 2_000_000_000,
            rounds: 3,
        };
        Figures::new(host, &[round(1.0), round(2.0), round(1.0)], Bytes::gib(1))
    }

    #[test]
    fn a_slow_round_changes_neither_figures_nor_ratios() {
        let figures = example();
        assert_eq!(figures.floor_ns, Distribution { p50: 500.0, p99: 1000.0, n: 300 });
        assert_eq!(figures.ratios.delegated_queue, 2.0);
        assert_eq!(figures.ratios.local_getpid, 0.2);
        assert!((figures.ratios.delegated_hypercall - 4.0 / 3.0).abs() < 1e-12);
        assert!((figures.ratios.read - 0.95).abs() < 1e-12);
        assert_eq!(figures.read_host_gbs, 10.0);
    }

    #[test]
    fn json_has_the_documented_keys() {
        let json = serde_json::to_value(example()).unwrap();
        for key in [
            "floor_ns",
            "host_getpid_ns",
            "local_getpid_ns",
            "delegated_queue_ns",
            "delegated_hypercall_ns",
            "exit_ns",
        ] {
            for part in ["p50", "p99", "n"] {
                assert!(json[key][part].is_number(), "{key}.{part}");
            }
        }
        assert!(json["host"]["kernel"].is_string() && json["read_lwk_gbs"].is_number());
    }
}
