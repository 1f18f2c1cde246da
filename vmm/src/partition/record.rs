//! A partition as data for programs: `margay check --json`.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::PageChoice;
use crate::partition::render::{delegation_name, isolation_name, unused};
use crate::partition::{DiskPlan, LwkPlan, Note, Partition, Resources, ServiceKind, ServiceVmPlan};
use crate::units::{Bytes, CoreId, CoreSet};

/// The data of `margay check --json`. Sizes are in bytes.
#[derive(Debug, Serialize)]
pub struct PartitionRecord<'a> {
    /// The node's name.
    pub name: &'a str,
    /// Permissions of its socket, in octal as the node file has them.
    pub socket_mode: String,
    /// The service OS.
    pub service: ServiceRecord<'a>,
    /// The LWKs, in the order of the file.
    pub lwk: Vec<LwkRecord<'a>>,
    /// Usable cores that nobody has.
    pub unused_cores: CoreSet,
    /// What the user might wonder about.
    pub notes: &'a [Note],
}

/// The service OS of a [`PartitionRecord`].
#[derive(Debug, Serialize)]
pub struct ServiceRecord<'a> {
    /// `host` or `vm`.
    pub kind: &'static str,
    /// Its cores.
    pub cores: &'a CoreSet,
    /// How long a proxy polls, in microseconds.
    pub spin_us: u128,
    /// What only a service VM has; null with the host.
    pub vm: Option<VmRecord<'a>>,
}

/// The service VM of a [`ServiceRecord`].
#[derive(Debug, Serialize)]
pub struct VmRecord<'a> {
    /// Its memory.
    pub memory: Bytes,
    /// `auto`, `2M` or `4K`.
    pub pages: PageChoice,
    /// Whether 2 MiB pages will back its memory; null where that was not tried.
    pub large_pages: Option<bool>,
    /// Its kernel.
    pub kernel: &'a Path,
    /// What is unpacked into its root, in this order.
    pub initramfs: &'a [PathBuf],
    /// Appended to its command line.
    pub cmdline: &'a str,
    /// Its disk.
    pub disk: Option<&'a DiskPlan>,
    /// The tap device behind its network.
    pub net: Option<&'a str>,
    /// Files that it gets at the same path.
    pub files: &'a [PathBuf],
    /// How long it may take to boot, in seconds.
    pub boot_s: u64,
}

/// An LWK of a [`PartitionRecord`].
#[derive(Debug, Serialize)]
pub struct LwkRecord<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its cores.
    pub cores: &'a [CoreId],
    /// Its memory.
    pub memory: Bytes,
    /// `auto`, `2M` or `4K`.
    pub pages: PageChoice,
    /// Whether 2 MiB pages will back its memory; null where that was not tried.
    pub large_pages: Option<bool>,
    /// `protected` or `fused`.
    pub isolation: &'static str,
    /// Why.
    pub isolation_reason: &'a str,
    /// `queue` or `hypercall`.
    pub delegation: &'static str,
    /// Size of the program's stack.
    pub stack: Bytes,
    /// The program, if the node file names one.
    pub program: Option<&'a Path>,
    /// Its arguments.
    pub args: &'a [String],
    /// Variables to add to its environment: name and value.
    pub env: &'a [(String, String)],
    /// Its image; null: the one beside the margay executable.
    pub image: Option<&'a Path>,
    /// How often it is looked whether it hangs, in seconds; 0: never.
    pub watch_s: u64,
}

impl<'a> PartitionRecord<'a> {
    /// The data of a partition.
    pub fn new(partition: &'a Partition, host: &Resources) -> PartitionRecord<'a> {
        let service = &partition.service;
        let (kind, vm) = match &service.kind {
            ServiceKind::Host => ("host", None),
            ServiceKind::Vm(vm) => ("vm", Some(VmRecord::new(vm, host))),
        };
        PartitionRecord {
            name: &partition.name,
            socket_mode: format!("{:04o}", partition.socket_mode),
            service: ServiceRecord {
                kind,
                cores: &service.cores,
                spin_us: service.spin.as_micros(),
                vm,
            },
            lwk: partition.lwks.iter().map(|lwk| LwkRecord::new(lwk, host)).collect(),
            unused_cores: unused(partition, host),
            notes: &partition.notes,
        }
    }
}

impl<'a> VmRecord<'a> {
    fn new(vm: &'a ServiceVmPlan, host: &Resources) -> VmRecord<'a> {
        VmRecord {
            memory: vm.memory,
            pages: vm.pages,
            large_pages: large_pages(vm.pages, host),
            kernel: &vm.kernel,
            initramfs: &vm.initramfs,
            cmdline: &vm.cmdline,
            disk: vm.disk.as_ref(),
            net: vm.net.as_deref(),
            files: &vm.files,
            boot_s: vm.boot_deadline.as_secs(),
        }
    }
}

impl<'a> LwkRecord<'a> {
    fn new(lwk: &'a LwkPlan, host: &Resources) -> LwkRecord<'a> {
        LwkRecord {
            name: &lwk.name,
            cores: &lwk.cores,
            memory: lwk.memory,
            pages: lwk.pages,
            large_pages: large_pages(lwk.pages, host),
            isolation: isolation_name(lwk.isolation),
            isolation_reason: &lwk.isolation_reason,
            delegation: delegation_name(lwk.delegation),
            stack: lwk.stack,
            program: lwk.program.as_deref(),
            args: &lwk.args,
            env: &lwk.env,
            image: lwk.image.as_deref(),
            watch_s: lwk.watch.map_or(0, |watch| watch.as_secs()),
        }
    }
}

/// Whether 2 MiB pages will back such memory, if that was tried.
fn large_pages(pages: PageChoice, host: &Resources) -> Option<bool> {
    match pages {
        PageChoice::Small => Some(false),
        PageChoice::Auto | PageChoice::Large => host.large_pages,
    }
}
