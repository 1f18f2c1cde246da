//! The service VM: whether this host can run it, and from what.

use std::fs::File;

use crate::config::{DEFAULT_BOOT_DEADLINE, Mistake, NodeConfig, ServiceVmConfig};
use crate::host::probe::Cpl0;
use crate::host::why_not_protected;
use crate::partition::{
    DiskPlan, KvmState, LwkPlan, PartitionProblem, Resources, ServiceKind, ServicePlan,
    ServiceVmPlan, files,
};
use crate::units::{Bytes, CoreSet};

/// What speaks against a service VM on this host, but for its files, cores and memory. `cpl0` is `None` where KVM cannot be
/// used, which is a mistake already.
pub(super) fn check(vm: &ServiceVmConfig, host: &Resources, cpl0: Option<&Cpl0>) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    // A stock kernel runs at CPL 0 and takes system calls there: just what `protected` needs of the hardware.
    if let Some(cpl0) = cpl0.filter(|cpl0| !cpl0.suits_protected()) {
        let problem = PartitionProblem::NoServiceVm(why_not_protected(cpl0));
        mistakes.push(Mistake::new(Some(vm.kind.clone()), &problem));
    }
    if let (Some(net), Some(why)) = (&vm.net, &host.tap_fault) {
        let problem = PartitionProblem::NoTap { net: net.value.clone(), why: why.clone() };
        mistakes.push(Mistake::new(net.span.clone(), &problem));
    }
    mistakes
}

/// The plan of a stock Linux guest with the cores, the memory and the pages of an LWK: what the LWK is compared with. Its kernel is
/// the service VM's, if the node has one, else Margay's own.
///
/// # Errors
/// [`PartitionProblem`]: this host cannot run one, or Margay's own kernel is not there.
pub fn peer(
    lwk: &LwkPlan,
    service: &ServicePlan,
    host: &Resources,
) -> Result<ServiceVmPlan, PartitionProblem> {
    match &host.kvm {
        KvmState::Probed(cpl0) if cpl0.suits_protected() => {}
        KvmState::Probed(cpl0) => {
            return Err(PartitionProblem::NoServiceVm(why_not_protected(cpl0)));
        }
        KvmState::Unusable { reason, hint } => {
            let (reason, hint) = (reason.clone(), hint.clone());
            return Err(PartitionProblem::NoKvm { reason, hint });
        }
        KvmState::NotAsked => unreachable!("a peer's resources are collected with a probe"),
    }
    let own = files::own_service_os(&host.install);
    let (kernel, initramfs, boot_deadline) = match &service.kind {
        ServiceKind::Vm(vm) => (vm.kernel.clone(), vm.initramfs.clone(), vm.boot_deadline),
        ServiceKind::Host => (own.0, vec![own.1], DEFAULT_BOOT_DEADLINE),
    };
    if let Err(source) = File::open(&kernel) {
        let why = source.to_string();
        return Err(PartitionProblem::NoFile { key: "kernel", path: kernel, why, own: true });
    }
    Ok(ServiceVmPlan {
        cores: lwk.cores.clone(),
        memory: lwk.memory,
        pages: lwk.pages,
        kernel,
        initramfs,
        cmdline: String::new(),
        disk: None,
        net: None,
        files: Vec::new(),
        boot_deadline,
    })
}

/// The plan of a service VM on these cores and with this memory.
pub(super) fn plan(
    node: &NodeConfig,
    vm: &ServiceVmConfig,
    host: &Resources,
    (cores, memory): (&CoreSet, Bytes),
) -> ServiceVmPlan {
    ServiceVmPlan {
        cores: cores.iter().collect(),
        memory,
        pages: vm.pages.value,
        kernel: files::kernel(node, vm, &host.install),
        initramfs: files::initramfs(node, vm, &host.install),
        cmdline: vm.cmdline.clone(),
        disk: vm.disk.as_ref().map(|disk| DiskPlan {
            path: node.locate(&disk.value.path),
            read_only: disk.value.read_only,
        }),
        net: vm.net.as_ref().map(|net| net.value.clone()),
        files: vm.files.iter().map(|file| node.locate(&file.value)).collect(),
        boot_deadline: vm.boot_deadline,
    }
}
