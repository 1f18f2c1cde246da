//! The service VM: whether this host can run it, and from what.

use crate::config::{Mistake, NodeConfig, ServiceVmConfig};
use crate::host::probe::Cpl0;
use crate::host::why_not_protected;
use crate::partition::{DiskPlan, PartitionProblem, Resources, ServiceVmPlan, files};
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
