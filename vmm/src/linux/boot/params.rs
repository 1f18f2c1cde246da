//! The tables that lead a kernel to everything else: the zero page, or PVH's start information.

use std::ops::Range;

use linux_loader::configurator::linux::LinuxBootConfigurator;
use linux_loader::configurator::pvh::PvhBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use linux_loader::loader::elf::start_info::{
    hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::BootError;
use super::kernel::Kernel;
use crate::linux::layout::{self, Layout};

/// What was put into memory beside the kernel.
#[derive(Debug)]
pub struct Placed {
    /// The initramfs; empty for none.
    pub initramfs: Range<u64>,
    /// ACPI's root pointer.
    pub rsdp: u64,
}

/// `type_of_loader`: none of those that have a number.
const LOADER_UNKNOWN: u8 = 0xff;
/// `loadflags`: the protected-mode code is at 1 MiB and above.
const LOADED_HIGH: u8 = 1;

/// Writes `struct boot_params` (Linux `Documentation/arch/x86/zero-page.rst`).
pub fn write_zero_page(
    memory: &GuestMemoryMmap,
    layout: &Layout,
    kernel: &Kernel,
    placed: &Placed,
) -> Result<(), BootError> {
    // A vmlinux has no header; the kernel checks that of its own boot sector's magic.
    let own = setup_header { boot_flag: 0xaa55, header: 0x5372_6448, ..Default::default() };
    let mut header = kernel.header.unwrap_or(own);
    header.type_of_loader = LOADER_UNKNOWN;
    header.loadflags |= LOADED_HIGH;
    header.cmd_line_ptr = layout::COMMAND_LINE as u32;
    if !placed.initramfs.is_empty() {
        header.ramdisk_image = placed.initramfs.start as u32;
        header.ramdisk_size = (placed.initramfs.end - placed.initramfs.start) as u32;
    }
    let mut params = boot_params { hdr: header, acpi_rsdp_addr: placed.rsdp, ..Default::default() };
    let map = layout.memory_map();
    let mut table = params.e820_table;
    for (slot, entry) in table.iter_mut().zip(&map) {
        *slot = boot_e820_entry { addr: entry.start, size: entry.bytes, r#type: entry.kind as u32 };
    }
    params.e820_table = table;
    params.e820_entries = map.len().min(table.len()) as u8;
    let params = BootParams::new(&params, GuestAddress(layout::ZERO_PAGE));
    Ok(LinuxBootConfigurator::write_bootparams(&params, memory)?)
}

/// Writes `struct hvm_start_info` (Xen `xen/include/public/arch-x86/hvm/start_info.h`), whose memory map has the types of e820.
pub fn write_start_info(
    memory: &GuestMemoryMmap,
    layout: &Layout,
    placed: &Placed,
) -> Result<(), BootError> {
    const MODULES: u64 = layout::PVH_INFO + 0x40;
    const MEMORY_MAP: u64 = layout::PVH_INFO + 0x80;
    /// `XEN_HVM_START_MAGIC_VALUE`.
    const MAGIC: u32 = 0x336e_c578;

    let map: Vec<_> = layout
        .memory_map()
        .iter()
        .map(|entry| hvm_memmap_table_entry {
            addr: entry.start,
            size: entry.bytes,
            type_: entry.kind as u32,
            reserved: 0,
        })
        .collect();
    let module = hvm_modlist_entry {
        paddr: placed.initramfs.start,
        size: placed.initramfs.end - placed.initramfs.start,
        ..Default::default()
    };
    let modules = if placed.initramfs.is_empty() { vec![] } else { vec![module] };
    let start_info = hvm_start_info {
        magic: MAGIC,
        version: 1,
        nr_modules: modules.len() as u32,
        modlist_paddr: MODULES,
        cmdline_paddr: layout::COMMAND_LINE,
        rsdp_paddr: placed.rsdp,
        memmap_paddr: MEMORY_MAP,
        memmap_entries: map.len() as u32,
        ..Default::default()
    };
    let mut params = BootParams::new(&start_info, GuestAddress(layout::PVH_INFO));
    if !modules.is_empty() {
        params.set_modules(&modules, GuestAddress(MODULES));
    }
    params.set_sections(&map, GuestAddress(MEMORY_MAP));
    Ok(PvhBootConfigurator::write_bootparams(&params, memory)?)
}
