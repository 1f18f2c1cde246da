//! A guest's machine: memory, processors and bus, put together on KVM.

use std::sync::Arc;

use kvm_bindings::{CpuId, kvm_userspace_memory_region};
use kvm_ioctls::{IoEventAddress, Kvm, NoDatamatch, VcpuFd, VmFd};
use vm_memory::{GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::EventFd;

use super::bus::Bus;
use super::console::Console;
use super::end::Ending;
use super::error::LinuxError;
use super::events::Device;
use super::layout::{self, Layout};
use super::pci::{Function, PciBus};
use super::serial::{self, SerialPort};
use super::virtio::{VirtioDevice, VirtioPci, WINDOW_BYTES};
use super::{cpuid, registers};
use crate::memory::{GuestMemory, PageRequest, Region, collect};

/// The guest's KVM side.
pub(super) struct Machine {
    /// What the guest's accesses reach.
    pub(super) bus: Arc<Bus>,
    /// The devices on it, for the thread that serves them.
    pub(super) devices: Vec<Arc<Device>>,
    vm: Arc<VmFd>,
}

/// The guest's memory.
pub(super) struct Memory {
    /// RAM and shared regions: what a device may be told to read or write.
    pub(super) all: GuestMemoryMmap,
    regions: Vec<Region>,
    _ram: GuestMemory,
    _shared: Vec<Arc<GuestMemory>>,
}

impl Memory {
    /// Makes the RAM of `layout`, with `shared` at its shared addresses.
    pub(super) fn new(
        layout: &Layout,
        pages: PageRequest,
        shared: Vec<Arc<GuestMemory>>,
    ) -> Result<Memory, LinuxError> {
        let pieces: Vec<_> =
            layout.ram().iter().map(|(start, bytes)| (GuestAddress(*start), *bytes)).collect();
        let ram = GuestMemory::with_regions(&pieces, pages)?;
        let mut regions = ram.regions().to_vec();
        for (memory, (start, _)) in shared.iter().zip(layout.shared()) {
            // An LWK's memory is one region.
            let mapping = Arc::clone(&memory.regions()[0].mapping);
            regions.push(Region { start: GuestAddress(*start), mapping });
        }
        let all = collect(regions.iter().cloned())?;
        Ok(Memory { all, regions, _ram: ram, _shared: shared })
    }
}

impl Machine {
    /// Makes the machine of `memory` and `devices`, that ends by `ending` and writes on `console`.
    pub(super) fn new(
        kvm: &Kvm,
        memory: &Memory,
        devices: Vec<Box<dyn VirtioDevice>>,
        (ending, console): (&Arc<Ending>, &Arc<Console>),
    ) -> Result<Machine, LinuxError> {
        let vm = Arc::new(kvm.create_vm().map_err(LinuxError::kvm("KVM_CREATE_VM"))?);
        vm.set_identity_map_address(layout::IDENTITY_MAP)
            .map_err(LinuxError::kvm("KVM_SET_IDENTITY_MAP_ADDR"))?;
        vm.set_tss_address(layout::TASK_STATE).map_err(LinuxError::kvm("KVM_SET_TSS_ADDR"))?;
        vm.create_irq_chip().map_err(LinuxError::kvm("KVM_CREATE_IRQCHIP"))?;
        for (slot, region) in (0..).zip(&memory.regions) {
            map(&vm, slot, region)?;
        }
        let interrupt =
            EventFd::new(libc::EFD_CLOEXEC).map_err(LinuxError::system("make an eventfd"))?;
        vm.register_irqfd(&interrupt, serial::GSI).map_err(LinuxError::kvm("KVM_IRQFD"))?;
        let serial = SerialPort::new(Arc::clone(console), interrupt);

        let devices = make_devices(&vm, memory, devices)?;
        let functions = devices.iter().map(|d| Arc::clone(d) as Arc<dyn Function>).collect();
        let pci = PciBus::new(functions);
        let bus = Arc::new(Bus { serial, pci, ending: Arc::clone(ending) });
        Ok(Machine { bus, devices, vm })
    }

    /// Makes `count` processors, each with its own part of the `supported` CPUID.
    pub(super) fn make_vcpus(
        &self,
        supported: &CpuId,
        count: u8,
    ) -> Result<Vec<VcpuFd>, LinuxError> {
        let make = |id| {
            let vcpu =
                self.vm.create_vcpu(u64::from(id)).map_err(LinuxError::kvm("KVM_CREATE_VCPU"))?;
            let cpuid = cpuid::of_processor(supported, id, count);
            vcpu.set_cpuid2(&cpuid).map_err(LinuxError::kvm("KVM_SET_CPUID2"))?;
            registers::set_vector_state(&vcpu, &cpuid)?;
            registers::set_msrs(&vcpu)?;
            Ok(vcpu)
        };
        (0..count).map(make).collect()
    }
}

fn map(vm: &VmFd, slot: u32, region: &Region) -> Result<(), LinuxError> {
    let region = kvm_userspace_memory_region {
        slot,
        flags: 0,
        guest_phys_addr: region.start.0,
        memory_size: region.bytes(),
        userspace_addr: region.host_address(),
    };
    // SAFETY: the range is guest memory's mapping. It stays mapped as long as anybody holds the region, and `LinuxVm` holds it
    // until the last thread that could enter the guest has ended.
    unsafe { vm.set_user_memory_region(region) }
        .map_err(LinuxError::kvm("KVM_SET_USER_MEMORY_REGION"))
}

/// Puts the devices on the bus, one window behind the other, and has KVM ring their kicks.
fn make_devices(
    vm: &Arc<VmFd>,
    memory: &Memory,
    devices: Vec<Box<dyn VirtioDevice>>,
) -> Result<Vec<Arc<Device>>, LinuxError> {
    let mut made = Vec::with_capacity(devices.len());
    let starts = (layout::PCI_WINDOW as u32..).step_by(WINDOW_BYTES as usize);
    for (device, start) in devices.into_iter().zip(starts) {
        let device = VirtioPci::new(device, memory.all.clone(), Arc::clone(vm), start)
            .map_err(LinuxError::system("make an eventfd"))?;
        for (address, kick) in device.kicks() {
            vm.register_ioevent(kick, &IoEventAddress::Mmio(address), NoDatamatch)
                .map_err(LinuxError::kvm("KVM_IOEVENTFD"))?;
        }
        made.push(Arc::new(device));
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::Memory;
    use crate::linux::layout::Layout;
    use crate::memory::{GuestMemory, PageRequest};
    use crate::units::Bytes;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::sync::Arc;
    use vm_memory::{Bytes as _, GuestAddress};

    const MIB: u64 = 1 << 20;

    #[test]
    fn shared_memory_is_the_lwks() {
        let lwk = Arc::new(GuestMemory::new(4 * MIB, PageRequest::Small).unwrap());
        let layout = Layout::new(Bytes::mib(64), &[lwk.bytes()], 40).unwrap();
        let memory = Memory::new(&layout, PageRequest::Small, vec![Arc::clone(&lwk)]).unwrap();
        let (start, _) = layout.shared()[0];
        memory.all.write_obj(0x1234_u32, GuestAddress(start + MIB)).unwrap();
        let seen: u32 = lwk.guest_memory().read_obj(GuestAddress(MIB)).unwrap();
        assert_eq!(seen, 0x1234);
        assert!(memory.all.write_obj(0_u8, GuestAddress(start + 4 * MIB)).is_err());

        let inode = lwk.file().metadata().unwrap().ino().to_string();
        let mapped = || {
            let maps = fs::read_to_string("/proc/self/maps").unwrap();
            maps.lines().any(|line| line.split_whitespace().nth(4) == Some(&inode))
        };
        drop(lwk);
        assert!(mapped(), "the guest still uses it");
        drop(memory);
        assert!(!mapped(), "nobody uses it any more");
    }
}
