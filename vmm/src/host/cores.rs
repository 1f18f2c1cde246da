//! The host's cores: which there are, which this process may use, how they are set up.

use std::fs;

use serde::Serialize;

use crate::host::{read_line, sys};
use crate::units::{Bytes, CoreId, CoreSet};

const CPU: &str = "/sys/devices/system/cpu";
const NODE: &str = "/sys/devices/system/node";

/// The host's cores.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CoreFacts {
    /// The processor's name.
    pub model: String,
    /// `vmx` or `svm`, where the processor (or the hypervisor below) offers hardware virtualization.
    pub virtualization: Option<String>,
    /// The kernel module that would use it.
    pub kvm_module: &'static str,
    /// Whether this is itself a virtual machine.
    pub virtual_machine: bool,
    /// Cores that exist.
    pub present: CoreSet,
    /// Cores that run.
    pub online: CoreSet,
    /// Cores that this process may use: its affinity, and the isolated ones that its cpuset allows (a process is not on
    /// isolated cores unless it asks).
    pub usable: CoreSet,
    /// Cores of `isolcpus`.
    pub isolated: CoreSet,
    /// Cores of `nohz_full`; `None`: this kernel is built without it.
    pub nohz_full: Option<CoreSet>,
    /// Groups of cores that share one physical core, where there is more than one.
    pub smt_siblings: Vec<CoreSet>,
    /// Memory nodes.
    pub numa: Vec<NumaNode>,
    /// The frequency governors in use; empty where Linux does not set the frequency.
    pub governors: Vec<String>,
}

/// A memory node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NumaNode {
    /// Linux's number.
    pub id: u32,
    /// Its cores.
    pub cores: CoreSet,
    /// Its memory.
    pub memory: Bytes,
}

impl CoreFacts {
    /// Reads them. What this kernel does not tell is left empty.
    pub fn collect() -> CoreFacts {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let flags = cpuinfo_field(&cpuinfo, "flags").unwrap_or_default();
        let affinity = sys::affinity().unwrap_or_default();
        let online = list(format!("{CPU}/online")).unwrap_or_else(|| affinity.clone());
        let isolated = list(format!("{CPU}/isolated")).unwrap_or_default();
        let reachable =
            if isolated.is_empty() { CoreSet::default() } else { sys::allowed(&isolated) };
        CoreFacts {
            model: cpuinfo_field(&cpuinfo, "model name").unwrap_or("unknown processor").to_owned(),
            virtualization: virtualization_flag(flags),
            kvm_module: match cpuinfo_field(&cpuinfo, "vendor_id") {
                Some("AuthenticAMD" | "HygonGenuine") => "kvm_amd",
                _ => "kvm_intel",
            },
            virtual_machine: flags.split_whitespace().any(|flag| flag == "hypervisor"),
            present: list(format!("{CPU}/present")).unwrap_or_else(|| online.clone()),
            usable: affinity.union(&reachable).intersection(&online),
            nohz_full: list(format!("{CPU}/nohz_full")),
            smt_siblings: collect_siblings(&online),
            numa: collect_numa(),
            governors: collect_governors(&online),
            isolated,
            online,
        }
    }

    /// The other cores on the same physical core.
    pub fn siblings(&self, core: CoreId) -> CoreSet {
        let group = self.smt_siblings.iter().find(|group| group.contains(core));
        group.map(|group| group.difference(&CoreSet::from([core.0]))).unwrap_or_default()
    }
}

/// A CPU list of sysfs. Linux prints the empty list as an empty line, and `(null)` for an unset `nohz_full`.
fn list(path: String) -> Option<CoreSet> {
    let text = read_line(path)?;
    if text == "(null)" { Some(CoreSet::default()) } else { text.parse().ok() }
}

fn cpuinfo_field<'t>(cpuinfo: &'t str, name: &str) -> Option<&'t str> {
    let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

fn virtualization_flag(flags: &str) -> Option<String> {
    flags.split_whitespace().find(|flag| ["vmx", "svm"].contains(flag)).map(str::to_owned)
}

fn collect_siblings(online: &CoreSet) -> Vec<CoreSet> {
    let mut groups: Vec<CoreSet> = Vec::new();
    for core in online.iter() {
        let path = format!("{CPU}/cpu{core}/topology/thread_siblings_list");
        let group = list(path).unwrap_or_default();
        if group.len() > 1 && !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

fn collect_numa() -> Vec<NumaNode> {
    let nodes: CoreSet = list(format!("{NODE}/online")).unwrap_or_default();
    let node = |id: u32| {
        let meminfo = fs::read_to_string(format!("{NODE}/node{id}/meminfo")).unwrap_or_default();
        Some(NumaNode {
            id,
            cores: list(format!("{NODE}/node{id}/cpulist"))?,
            memory: node_memory(&meminfo).unwrap_or_default(),
        })
    };
    // A list of nodes has the notation of a list of cores.
    nodes.iter().filter_map(|id| node(id.0)).collect()
}

/// `MemTotal` of a node's `meminfo`: "Node 0 MemTotal:  8139256 kB".
fn node_memory(meminfo: &str) -> Option<Bytes> {
    let line = meminfo.lines().find(|line| line.contains("MemTotal:"))?;
    line.split_whitespace().rev().nth(1)?.parse().ok().map(Bytes::kib)
}

fn collect_governors(online: &CoreSet) -> Vec<String> {
    let governor = |core| read_line(format!("{CPU}/cpu{core}/cpufreq/scaling_governor"));
    let mut governors: Vec<String> = online.iter().filter_map(governor).collect();
    governors.sort();
    governors.dedup();
    governors
}

#[cfg(test)]
mod tests {
    use super::{CoreFacts, cpuinfo_field, node_memory, virtualization_flag};
    use crate::units::{Bytes, CoreId, CoreSet};

    #[test]
    fn this_host_has_cores() {
        let cores = CoreFacts::collect();
        assert!(!cores.usable.is_empty());
        assert!(cores.usable.difference(&cores.online).is_empty());
    }

    #[test]
    fn linux_texts_are_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu svm sse\n";
        assert_eq!(cpuinfo_field(cpuinfo, "model name"), Some("AMD EPYC"));
        let flags = cpuinfo_field(cpuinfo, "flags").unwrap();
        assert_eq!(virtualization_flag(flags).as_deref(), Some("svm"));
        assert_eq!(virtualization_flag("fpu svm_lock vmx_x"), None);
        let meminfo = "Node 0 MemFree: 1 kB\nNode 0 MemTotal:       8192 kB\n";
        assert_eq!(node_memory(meminfo.lines().next_back().unwrap()), Some(Bytes::mib(8)));
    }

    #[test]
    fn siblings_are_the_others() {
        let cores = CoreFacts { smt_siblings: vec![CoreSet::from([1, 5])], ..CoreFacts::default() };
        assert_eq!(cores.siblings(CoreId(5)), CoreSet::from([1]));
        assert_eq!(cores.siblings(CoreId(2)), CoreSet::default());
    }
}
