//! The boot processor at its first instruction. The others wait for the boot processor's INIT and SIPI, as on hardware.

use kvm_bindings::{
    CpuId, Msrs, kvm_cpuid_entry2, kvm_msr_entry, kvm_regs, kvm_segment, kvm_xcr, kvm_xcrs,
};
use kvm_ioctls::VcpuFd;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::LinuxError;
use super::boot::{BootError, Entry, Protocol};
use super::layout;

/// CR0: protection, extension type, paging.
const CR0_PE: u64 = 1 << 0;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
/// CR4: physical address extension.
const CR4_PAE: u64 = 1 << 5;
/// EFER: long mode, enabled and active.
const EFER_LME_LMA: u64 = 1 << 8 | 1 << 10;
/// RFLAGS bit 1 is always one.
const RFLAGS: u64 = 2;

/// Page table entries: present, writable; and, of 2 MiB.
const TABLE: u64 = 0b11;
const LARGE: u64 = 0b11 | 1 << 7;
const PAGE: u64 = 4096;

/// `IA32_MTRR_DEF_TYPE`: memory types are enabled, and what no range names is write-back (SDM vol 3, 12.11.2.1).
const MTRR_DEF_TYPE: kvm_msr_entry = msr(0x2ff, 1 << 11 | 6);
/// `IA32_MISC_ENABLE`: fast string operations.
const MISC_ENABLE: kvm_msr_entry = msr(0x1a0, 1);

const fn msr(index: u32, data: u64) -> kvm_msr_entry {
    kvm_msr_entry { index, reserved: 0, data }
}

/// Sets what every processor needs that firmware sets on hardware.
pub fn set_msrs(vcpu: &VcpuFd) -> Result<(), LinuxError> {
    let msrs = Msrs::from_entries(&[MTRR_DEF_TYPE, MISC_ENABLE])
        .expect("two entries are fewer than the most that fit");
    vcpu.set_msrs(&msrs).map_err(LinuxError::kvm("KVM_SET_MSRS"))?;
    Ok(())
}

/// Enables all vector state that `cpuid` shows, as some firmware does. A kernel enables the same by itself; but a KVM whose processor
/// does not trap `xsetbv` (QEMU's SVM) does not learn of that, takes the state off the guest again at its next exit, and goes on
/// to report the size of what was enabled at first.
pub fn set_vector_state(vcpu: &VcpuFd, cpuid: &CpuId) -> Result<(), LinuxError> {
    /// The leaf of extended state (SDM vol 1, 13.2).
    const EXTENDED_STATE: u32 = 0xd;
    let leaf = |entry: &&kvm_cpuid_entry2| entry.function == EXTENDED_STATE && entry.index == 0;
    let Some(leaf) = cpuid.as_slice().iter().find(leaf).filter(|leaf| leaf.eax != 0) else {
        return Ok(());
    };
    let value = u64::from(leaf.edx) << 32 | u64::from(leaf.eax);
    let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
    xcrs.xcrs[0] = kvm_xcr { xcr: 0, value, ..Default::default() };
    vcpu.set_xcrs(&xcrs).map_err(LinuxError::kvm("KVM_SET_XCRS"))
}

/// Sets the boot processor up to start at `entry`.
pub fn set_entry(vcpu: &VcpuFd, entry: Entry, memory: &GuestMemoryMmap) -> Result<(), LinuxError> {
    write_gdt(memory).map_err(BootError::from)?;
    let mut sregs = vcpu.get_sregs().map_err(LinuxError::kvm("KVM_GET_SREGS"))?;
    let long = entry.protocol == Protocol::Linux64;
    sregs.cs = segment(Descriptor::Code { long });
    for data in [&mut sregs.ds, &mut sregs.es, &mut sregs.fs, &mut sregs.gs, &mut sregs.ss] {
        *data = segment(Descriptor::Data);
    }
    sregs.tr = kvm_segment { limit: 0x67, type_: 0xb, present: 1, ..Default::default() };
    (sregs.gdt.base, sregs.gdt.limit) = (layout::GDT, GDT_LIMIT);
    (sregs.cr0, sregs.cr4, sregs.efer) = (CR0_PE | CR0_ET, 0, 0);
    if long {
        write_page_tables(memory).map_err(BootError::from)?;
        sregs.cr0 |= CR0_PG;
        sregs.cr3 = layout::PAGE_TABLES;
        (sregs.cr4, sregs.efer) = (CR4_PAE, EFER_LME_LMA);
    }
    vcpu.set_sregs(&sregs).map_err(LinuxError::kvm("KVM_SET_SREGS"))?;
    let regs = match entry.protocol {
        Protocol::Linux64 => kvm_regs { rsi: layout::ZERO_PAGE, ..Default::default() },
        Protocol::Pvh => kvm_regs { rbx: layout::PVH_INFO, ..Default::default() },
    };
    let regs = kvm_regs { rip: entry.address, rflags: RFLAGS, ..regs };
    vcpu.set_regs(&regs).map_err(LinuxError::kvm("KVM_SET_REGS"))
}

#[derive(Clone, Copy)]
enum Descriptor {
    Code { long: bool },
    Data,
}

/// Selectors that both protocols name: Linux's `__BOOT_CS` and `__BOOT_DS`.
const CODE_SELECTOR: u16 = 0x10;
const DATA_SELECTOR: u16 = 0x18;
const GDT_LIMIT: u16 = DATA_SELECTOR + 7;

/// A flat segment.
fn segment(descriptor: Descriptor) -> kvm_segment {
    let flat = kvm_segment { limit: 0xffff_ffff, present: 1, s: 1, g: 1, ..Default::default() };
    match descriptor {
        Descriptor::Code { long } => kvm_segment {
            selector: CODE_SELECTOR,
            type_: 0xb,
            l: u8::from(long),
            db: u8::from(!long),
            ..flat
        },
        Descriptor::Data => kvm_segment { selector: DATA_SELECTOR, type_: 0x3, db: 1, ..flat },
    }
}

/// The descriptors that the selectors name, for a kernel that loads them again before it has its own.
fn write_gdt(memory: &GuestMemoryMmap) -> Result<(), vm_memory::GuestMemoryError> {
    /// 64-bit code; flat data of 32 bits (SDM vol 3, 3.4.5).
    const CODE: u64 = 0x00af_9b00_0000_ffff;
    const DATA: u64 = 0x00cf_9300_0000_ffff;
    for (selector, descriptor) in [(CODE_SELECTOR, CODE), (DATA_SELECTOR, DATA)] {
        memory.write_obj(descriptor, GuestAddress(layout::GDT + u64::from(selector)))?;
    }
    Ok(())
}

/// Maps the first 4 GiB at their own addresses, by pages of 2 MiB.
fn write_page_tables(memory: &GuestMemoryMmap) -> Result<(), vm_memory::GuestMemoryError> {
    const GIBS: u64 = 4;
    const ENTRIES: u64 = 512;
    let pointers = layout::PAGE_TABLES + PAGE;
    let directories = pointers + PAGE;
    memory.write_obj(pointers | TABLE, GuestAddress(layout::PAGE_TABLES))?;
    for gib in 0..GIBS {
        let directory = directories + gib * PAGE;
        memory.write_obj(directory | TABLE, GuestAddress(pointers + gib * 8))?;
        for entry in 0..ENTRIES {
            let address = (gib * ENTRIES + entry) << 21;
            memory.write_obj(address | LARGE, GuestAddress(directory + entry * 8))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{CODE_SELECTOR, layout, write_gdt, write_page_tables};
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    fn memory() -> GuestMemoryMmap {
        GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap()
    }

    /// Walks the tables as a processor does (SDM vol 3, 4.5).
    fn translate(memory: &GuestMemoryMmap, address: u64) -> Option<u64> {
        let mut table = layout::PAGE_TABLES;
        for shift in [39, 30, 21] {
            let index = address >> shift & 511;
            let entry: u64 = memory.read_obj(GuestAddress(table + index * 8)).unwrap();
            if entry & 1 == 0 {
                return None;
            }
            let large = entry & 1 << 7 != 0;
            table = entry & 0x000f_ffff_ffff_f000;
            if large {
                return Some(table | address & ((1 << shift) - 1));
            }
        }
        None
    }

    #[test]
    fn four_gib_are_mapped_at_their_own_addresses() {
        let memory = memory();
        write_page_tables(&memory).unwrap();
        for address in [0, layout::ZERO_PAGE, layout::HIGH_MEMORY, 0xc000_0123, 0xffff_ffff] {
            assert_eq!(translate(&memory, address), Some(address));
        }
        assert_eq!(translate(&memory, 1 << 32), None);
    }

    #[test]
    fn the_boot_structures_do_not_overlap() {
        let memory = memory();
        write_page_tables(&memory).unwrap();
        write_gdt(&memory).unwrap();
        let tables_end = layout::PAGE_TABLES + 6 * 4096;
        assert!(
            tables_end <= layout::COMMAND_LINE && layout::ZERO_PAGE + 4096 <= layout::PAGE_TABLES
        );
        let code: u64 =
            memory.read_obj(GuestAddress(layout::GDT + u64::from(CODE_SELECTOR))).unwrap();
        assert_ne!(code & 1 << 53, 0, "64-bit code");
    }
}
