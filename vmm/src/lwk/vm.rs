//! One LWK guest on KVM: its memory, its vCPU, its doorbells.

use std::fs::File;
use std::io;
use std::sync::Arc;

use kvm_bindings::{
    KVM_IRQ_ROUTING_MSI, KvmIrqRouting, kvm_irq_routing_entry, kvm_irq_routing_msi,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{IoEventAddress, Kvm, VcpuFd, VmFd};
use margay_abi::hypercall::{Hypercall, WAKE_VECTOR};
use thiserror::Error;
use vmm_sys_util::eventfd::EventFd;

use super::{boot, clock, cpu};
use crate::memory::GuestMemory;

/// Why a VM cannot be made.
#[derive(Debug, Error)]
pub enum VmError {
    /// A KVM call failed.
    #[error("{call} failed: {source}; `margay host` shows what this KVM can do")]
    Kvm {
        /// The call.
        call: &'static str,
        /// Why.
        source: kvm_ioctls::Error,
    },
    /// An eventfd could not be made.
    #[error("cannot make an eventfd: {0}")]
    EventFd(#[source] io::Error),
    /// The guest's memory could not be filled.
    #[error(transparent)]
    Boot(#[from] boot::BootError),
    /// The routing table could not be made.
    #[error("cannot make the interrupt routing table")]
    Routing,
}

impl VmError {
    pub(super) fn kvm(call: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> VmError {
        move |source| VmError::Kvm { call, source }
    }
}

/// Global interrupt number of the wake-up: past those of the emulated PC interrupt controllers.
const WAKE_GSI: u32 = 24;

/// A VM with one vCPU, ready to run.
#[derive(Debug)]
pub struct Vm {
    // Held so that the VM lives: KVM ends it with its last descriptor. Before the memory: fields are dropped in order.
    _vm: VmFd,
    _memory: Arc<GuestMemory>,
    /// The boot vCPU.
    pub vcpu: VcpuFd,
    /// Rung by the LWK when the proxy sleeps.
    pub kick: EventFd,
    /// Rung by the proxy when the LWK's core is halted.
    pub wake: EventFd,
}

impl Vm {
    /// Makes a VM of `memory` that starts at the PVH entry of `image`. The boot record is written later, when the
    /// proxy's process id is known, by [`boot::write_boot_info`].
    pub fn new(kvm: &Kvm, memory: &Arc<GuestMemory>, image: &mut File) -> Result<Vm, VmError> {
        let vm = kvm.create_vm().map_err(VmError::kvm("KVM_CREATE_VM"))?;
        // Where Intel's real-mode emulation may keep its state: outside of guest memory, as QEMU and Firecracker have it.
        vm.set_identity_map_address(0xfffb_c000)
            .map_err(VmError::kvm("KVM_SET_IDENTITY_MAP_ADDR"))?;
        vm.set_tss_address(0xfffb_d000).map_err(VmError::kvm("KVM_SET_TSS_ADDR"))?;
        vm.create_irq_chip().map_err(VmError::kvm("KVM_CREATE_IRQCHIP"))?;
        map_memory(&vm, memory)?;

        let kick = EventFd::new(libc::EFD_CLOEXEC).map_err(VmError::EventFd)?;
        let wake = EventFd::new(libc::EFD_CLOEXEC).map_err(VmError::EventFd)?;
        let doorbell = IoEventAddress::Pio(u64::from(Hypercall::Doorbell.port()));
        vm.register_ioevent(&kick, &doorbell, 0_u32).map_err(VmError::kvm("KVM_IOEVENTFD"))?;
        route_wake(&vm)?;
        vm.register_irqfd(&wake, WAKE_GSI).map_err(VmError::kvm("KVM_IRQFD"))?;

        let vcpu = vm.create_vcpu(0).map_err(VmError::kvm("KVM_CREATE_VCPU"))?;
        let entry = boot::load_image(memory, image)?;
        cpu::configure(kvm, &vcpu, entry)?;
        Ok(Vm { _vm: vm, _memory: Arc::clone(memory), vcpu, kick, wake })
    }

    /// Frequency of the guest's TSC in Hz: KVM's word, or a measurement where it has none.
    pub fn tsc_hz(&self) -> u64 {
        match self.vcpu.get_tsc_khz() {
            Ok(khz) if khz > 0 => u64::from(khz) * 1000,
            _ => clock::measure_tsc_hz(),
        }
    }
}

fn map_memory(vm: &VmFd, memory: &GuestMemory) -> Result<(), VmError> {
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: memory.bytes(),
        userspace_addr: memory.host_address(),
    };
    // SAFETY: the range is guest memory's mapping, and whoever holds the VM holds the memory.
    unsafe { vm.set_user_memory_region(region) }.map_err(VmError::kvm("KVM_SET_USER_MEMORY_REGION"))
}

/// Routes the wake-up interrupt as a message-signalled one to vCPU 0 (SDM vol 3 11.11).
fn route_wake(vm: &VmFd) -> Result<(), VmError> {
    const MSI_ADDRESS: u32 = 0xfee0_0000;
    let mut entry =
        kvm_irq_routing_entry { gsi: WAKE_GSI, type_: KVM_IRQ_ROUTING_MSI, ..Default::default() };
    entry.u.msi = kvm_irq_routing_msi {
        address_lo: MSI_ADDRESS,
        data: u32::from(WAKE_VECTOR),
        ..Default::default()
    };
    let routing = KvmIrqRouting::from_entries(&[entry]).map_err(|_| VmError::Routing)?;
    vm.set_gsi_routing(&routing).map_err(VmError::kvm("KVM_SET_GSI_ROUTING"))
}
