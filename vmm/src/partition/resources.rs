//! What a partition is made from.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use crate::config::{IsolationChoice, NodeConfig, PageChoice, ServiceChoice};
use crate::host::probe::{self, Cpl0};
use crate::host::{CoreFacts, MemoryFacts, PageFacts, open_kvm};
use crate::partition::FileUse;
use crate::partition::files::{Wanted, tap_fault};
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
    /// The directory of the margay executable, below which its own service OS is.
    pub install: PathBuf,
    /// Files of the node file that cannot be used as they are to be, and why.
    pub file_faults: BTreeMap<(PathBuf, FileUse), String>,
    /// Why the network device of the node file, if it names one, cannot be used.
    pub tap_fault: Option<String>,
}

/// What is known of the KVM.
#[derive(Clone, Debug)]
pub enum KvmState {
    /// It was probed.
    Probed(Cpl0),
    /// It need not be probed: the node file says `fused` for all, which every KVM can do.
    NotAsked,
    /// It cannot be used.
    Unusable {
        /// Why.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl KvmState {
    /// Opens KVM, and probes it if somebody needs that.
    fn look(needs_probe: bool) -> KvmState {
        match (open_kvm(), needs_probe) {
            (Err(error), _) => {
                KvmState::Unusable { reason: error.to_string(), hint: Some(error.hint()) }
            }
            (Ok(_), false) => KvmState::NotAsked,
            (Ok(kvm), true) => match probe::probe_cpl0(kvm) {
                Ok(cpl0) => KvmState::Probed(cpl0),
                Err(error) => KvmState::Unusable { reason: error.to_string(), hint: None },
            },
        }
    }
}

impl Resources {
    /// Looks at what this node file needs to know, for a run: cheap, and large pages are not tried, because the run itself will.
    pub fn collect(node: &NodeConfig) -> Resources {
        // Where the executable's place is unknown, its own service OS will be said to be missing.
        let executable = env::current_exe().unwrap_or_default();
        let install = executable.parent().unwrap_or(Path::new("")).to_owned();
        let fault = |file: Wanted| Some((file.fault()?, (file.path, file.file_use)));
        let faults = Wanted::all(node, &install).into_iter().filter_map(fault);
        Resources {
            cores: CoreFacts::collect(),
            available: MemoryFacts::collect().available,
            large_pages: None,
            kvm: KvmState::look(needs_probe(node)),
            file_faults: faults.map(|(why, file)| (file, why)).collect(),
            install,
            tap_fault: match &node.service.kind {
                ServiceChoice::Vm(vm) => (vm.net.as_ref())
                    .and_then(|net| tap_fault(Path::new("/sys/class/net"), &net.value)),
                ServiceChoice::Host => None,
            },
        }
    }

    /// As [`Resources::collect`], with KVM probed whatever the node file asks for.
    pub fn collect_probed(node: &NodeConfig) -> Resources {
        Resources { kvm: KvmState::look(true), ..Resources::collect(node) }
    }

    /// Also tries what a run would find out by itself.
    pub fn collect_all(node: &NodeConfig) -> Resources {
        let mut pages = node.lwks.iter().map(|lwk| lwk.pages.value).collect::<Vec<_>>();
        if let ServiceChoice::Vm(vm) = &node.service.kind {
            pages.push(vm.pages.value);
        }
        let asked = pages.iter().any(|pages| *pages != PageChoice::Small);
        let large_pages = asked.then(|| PageFacts::collect().collapse);
        Resources { large_pages, ..Resources::collect(node) }
    }
}

/// Whether somebody needs to know what CPL 0 is like.
fn needs_probe(node: &NodeConfig) -> bool {
    node.service.kind != ServiceChoice::Host
        || node.lwks.iter().any(|lwk| lwk.isolation.value != IsolationChoice::Fused)
}
