//! What a partition is made from.

use crate::config::{IsolationChoice, NodeConfig, PageChoice};
use crate::host::probe::{self, Cpl0};
use crate::host::{CoreFacts, MemoryFacts, PageFacts, open_kvm};
use crate::units::Bytes;

/// What the host can give.
#[derive(Clone, Debug)]
pub struct Resources {
    /// Its cores.
    pub cores: CoreFacts,
    /// Memory that can be taken.
    pub available: Bytes,
    /// Whether it has 2 MiB pages for guest memory; `None`: not tried.
    pub large_pages: Option<bool>,
    /// The KVM.
    pub kvm: KvmState,
}

/// What is known of the KVM.
#[derive(Clone, Debug)]
pub enum KvmState {
    /// It was probed.
    Probed(Cpl0),
    /// It need not be probed: the node file says `fused`, which every KVM can do.
    NotAsked,
    /// It cannot be used.
    Unusable {
        /// Why.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl Resources {
    /// Looks at what this node file needs to know, for a run: cheap, and large pages are not tried, because the run itself will.
    pub fn collect(node: &NodeConfig) -> Resources {
        let kvm = match (open_kvm(), node.lwk.isolation.value) {
            (Err(error), _) => {
                KvmState::Unusable { reason: error.to_string(), hint: Some(error.hint()) }
            }
            (Ok(_), IsolationChoice::Fused) => KvmState::NotAsked,
            (Ok(kvm), _) => match probe::probe_cpl0(kvm) {
                Ok(cpl0) => KvmState::Probed(cpl0),
                Err(error) => KvmState::Unusable { reason: error.to_string(), hint: None },
            },
        };
        Resources {
            cores: CoreFacts::collect(),
            available: MemoryFacts::collect().available,
            large_pages: None,
            kvm,
        }
    }

    /// Also tries what a run would find out by itself.
    pub fn collect_all(node: &NodeConfig) -> Resources {
        let large_pages = match node.lwk.pages.value {
            PageChoice::Small => None,
            PageChoice::Auto | PageChoice::Large => Some(PageFacts::collect().collapse),
        };
        Resources { large_pages, ..Resources::collect(node) }
    }
}
