//! What a vCPU is at its first instruction: PVH's register state, the CPUID it sees, the vector state it may use.

use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, KVMIO, kvm_device_attr,
    kvm_regs, kvm_segment, kvm_xcr, kvm_xcrs,
};
use kvm_ioctls::{Kvm, VcpuFd};
use margay_abi::layout;

use vmm_sys_util::ioctl::ioctl_with_ref;

use super::vm::VmError;

// `KVM_SET_DEVICE_ATTR` on a vCPU (Linux `Documentation/virt/kvm/devices/vcpu.rst`), which kvm-ioctls has for Arm only.
vmm_sys_util::ioctl_iow_nr!(KVM_SET_DEVICE_ATTR, KVMIO, 0xe1, kvm_device_attr);

/// Sets `vcpu` up to start at the PVH entry point `entry`.
pub fn configure(kvm: &Kvm, vcpu: &VcpuFd, entry: u64) -> Result<(), VmError> {
    let cpuid = visible_cpuid(kvm)?;
    vcpu.set_cpuid2(&cpuid).map_err(VmError::kvm("KVM_SET_CPUID2"))?;
    set_vector_state(vcpu, &cpuid)?;
    set_pvh_state(vcpu, entry, layout::PVH_INFO)?;
    same_tsc_as_host(vcpu);
    Ok(())
}

/// The CPUID that the host's KVM supports, less what an LWK program must not see.
fn visible_cpuid(kvm: &Kvm) -> Result<CpuId, VmError> {
    let mut cpuid = kvm
        .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
        .map_err(VmError::kvm("KVM_GET_SUPPORTED_CPUID"))?;
    for entry in cpuid.as_mut_slice() {
        match (entry.function, entry.index) {
            (1, _) => {
                // Initial APIC id 0, one logical processor.
                entry.ebx = (entry.ebx & 0xffff) | 1 << 16;
                // MONITOR/MWAIT is the host's; a program could not use it anyway.
                entry.ecx &= !(1 << 3);
            }
            // 57-bit addresses and protection keys: the LWK has four-level tables and no PKRU.
            (7, 0) => entry.ecx &= !(1 << 16 | 1 << 3 | 1 << 4),
            // x2APIC id of this processor in the topology leaves.
            (0xb | 0x1f, _) => entry.edx = 0,
            (0xd, 0) => {
                entry.eax &= VECTOR_STATE as u32;
                entry.edx = 0;
            }
            _ => {}
        }
    }
    Ok(cpuid)
}

/// XCR0 bits of x87, SSE, AVX and AVX-512 (SDM vol 1 13.1).
const VECTOR_STATE: u64 = 0b1110_0111;

/// Enables the vector state that CPUID shows, so that the LWK need not (`xsetbv` is not emulated everywhere).
fn set_vector_state(vcpu: &VcpuFd, cpuid: &CpuId) -> Result<(), VmError> {
    let supported = cpuid
        .as_slice()
        .iter()
        .find(|e| e.function == 0xd && e.index == 0)
        .map_or(0, |e| u64::from(e.eax));
    if supported == 0 {
        return Ok(());
    }
    let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
    xcrs.xcrs[0] = kvm_xcr { xcr: 0, value: supported & VECTOR_STATE, ..Default::default() };
    vcpu.set_xcrs(&xcrs).map_err(VmError::kvm("KVM_SET_XCRS"))
}

/// Xen's PVH ABI: 32-bit protected mode, flat segments, no paging, EBX = start info.
fn set_pvh_state(vcpu: &VcpuFd, entry: u64, start_info: u64) -> Result<(), VmError> {
    /// CR0: protection enable, extension type.
    const CR0_INIT: u64 = 1 << 0 | 1 << 4;
    let flat = kvm_segment {
        limit: 0xffff_ffff,
        selector: 0x10,
        type_: 0x3,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..Default::default()
    };
    let mut sregs = vcpu.get_sregs().map_err(VmError::kvm("KVM_GET_SREGS"))?;
    sregs.cs = kvm_segment { selector: 0x8, type_: 0xb, ..flat };
    for data in [&mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs, &mut sregs.ss] {
        *data = flat;
    }
    sregs.tr = kvm_segment { limit: 0x67, type_: 0xb, present: 1, ..Default::default() };
    sregs.cr0 = CR0_INIT;
    sregs.cr4 = 0;
    sregs.efer = 0;
    vcpu.set_sregs(&sregs).map_err(VmError::kvm("KVM_SET_SREGS"))?;
    let regs = kvm_regs { rip: entry, rbx: start_info, rflags: 2, ..Default::default() };
    vcpu.set_regs(&regs).map_err(VmError::kvm("KVM_SET_REGS"))
}

/// Gives the guest the host's TSC, so that both can read one clock page and compare time stamps. A KVM without the attribute
/// (before Linux 5.16) keeps its offset; [`super::clock`] notices that and says so.
fn same_tsc_as_host(vcpu: &VcpuFd) {
    let offset = 0_u64;
    let attr = kvm_device_attr {
        group: KVM_VCPU_TSC_CTRL,
        attr: u64::from(KVM_VCPU_TSC_OFFSET),
        addr: &raw const offset as u64,
        flags: 0,
    };
    // SAFETY: the attribute is read for the length of an integer that lives until the call returns.
    let _ = unsafe { ioctl_with_ref(vcpu, KVM_SET_DEVICE_ATTR(), &attr) };
}
