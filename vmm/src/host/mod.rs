//! What this host can do: found by reading what Linux says and, where names lie, by trying.
//!
//! [`HostFacts::collect`] is everything, for `margay host`; its parts are collected on their own where less is needed. The
//! facts are plain data (`--json` prints exactly them: the keys are the field names, sizes are in bytes, times in the unit that the
//! name says); [`render`] makes the page for people, [`advice`] what the user could change. The facts about KVM's behaviour come from
//! [`probe`], because there are KVMs behind `/dev/kvm` that execute CPL 0 in a software emulator, and no capability says so.

pub mod advice;
mod collapse;
mod cores;
mod kvm;
mod memory;
mod pages;
pub mod probe;
pub mod render;
mod sys;
mod verdict;

use std::fs;
use std::path::Path;

use serde::Serialize;

pub use advice::Advice;
pub use cores::{CoreFacts, NumaNode};
pub use kvm::{Capability, KvmError, KvmFacts, open_kvm};
pub use memory::MemoryFacts;
pub use pages::{HugePool, PageFacts};
pub use verdict::{Offer, Verdict, why_not_protected};

/// Everything about the host.
#[derive(Clone, Debug, Serialize)]
pub struct HostFacts {
    /// Linux's release.
    pub kernel: String,
    /// Its cores.
    pub cores: CoreFacts,
    /// Its memory.
    pub memory: MemoryFacts,
    /// What can back a guest's memory.
    pub pages: PageFacts,
    /// The KVM behind `/dev/kvm`.
    pub kvm: KvmFacts,
    /// What follows for node files.
    pub verdict: Verdict,
    /// What the user could change to get more.
    pub advice: Vec<Advice>,
}

impl HostFacts {
    /// Looks at everything and probes KVM: some tens of milliseconds.
    pub fn collect() -> HostFacts {
        let mut facts = HostFacts {
            kernel: read_line("/proc/sys/kernel/osrelease").unwrap_or_default(),
            cores: CoreFacts::collect(),
            memory: MemoryFacts::collect(),
            pages: PageFacts::collect(),
            kvm: KvmFacts::collect(),
            verdict: Verdict::default(),
            advice: Vec::new(),
        };
        facts.verdict = Verdict::of(&facts.kvm);
        facts.advice = advice::advise(&facts);
        facts
    }
}

/// A small file of `/proc` or `/sys` without its newline; `None` where this kernel does not have it.
fn read_line(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}
