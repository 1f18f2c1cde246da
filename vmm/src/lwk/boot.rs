//! Everything the guest finds in its memory when it starts: the LWK's image, the PVH structures, the boot record and
//! the program block.

use std::fs::File;

use linux_loader::configurator::pvh::PvhBootConfigurator;
use linux_loader::configurator::{BootConfigurator, BootParams};
use linux_loader::loader::KernelLoader;
use linux_loader::loader::elf::start_info::{
    hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use linux_loader::loader::elf::{Elf, PvhBootCapability};
use margay_abi::boot::BootInfo;
use margay_abi::layout;
use margay_protocol::Launch;
use thiserror::Error;
use vm_memory::{Bytes, GuestAddress};

use crate::memory::GuestMemory;

/// Why a guest cannot be prepared.
#[derive(Debug, Error)]
pub enum BootError {
    /// The LWK's image could not be loaded.
    #[error("cannot load the LWK image: {0}")]
    Image(#[from] linux_loader::loader::Error),
    /// The image has no PVH entry.
    #[error("the LWK image has no PVH entry note: it is not a Margay LWK")]
    NoPvhEntry,
    /// The PVH structures could not be written.
    #[error("cannot write the boot information: {0}")]
    StartInfo(#[from] linux_loader::configurator::Error),
    /// The program block is too large.
    #[error(
        "arguments and environment take {needed} bytes with what the LWK needs to pass them on, and this partition has room for {limit}: \
         pass fewer, or give the LWK more memory"
    )]
    ArgumentsTooLong {
        /// Bytes of all strings, and of pointers to them.
        needed: u64,
        /// Bytes available.
        limit: u64,
    },
    /// A write to guest memory failed.
    #[error("cannot write to guest memory: {0}")]
    Memory(#[from] vm_memory::GuestMemoryError),
}

/// Clears what an earlier boot left where the LWK expects zeros: everything below the program block.
pub fn clear(memory: &GuestMemory) -> Result<(), BootError> {
    // Not one large buffer: unmapping that interrupts all cores on which threads of this process run, those of other LWKs too.
    const ZEROS: &[u8] = &[0; 64 << 10];
    for at in (0..layout::ARGS).step_by(ZEROS.len()) {
        memory.guest_memory().write_slice(ZEROS, GuestAddress(at))?;
    }
    Ok(())
}

/// Loads the LWK's image and returns its PVH entry.
pub fn load_image(memory: &GuestMemory, image: &mut File) -> Result<u64, BootError> {
    let loaded = Elf::load(memory.guest_memory(), None, image, None)?;
    match loaded.pvh_boot_cap {
        PvhBootCapability::PvhEntryPresent(entry) => Ok(entry.0),
        _ => Err(BootError::NoPvhEntry),
    }
}

/// Writes the program block of `launch` (path for `AT_EXECFN`, arguments, environment) and returns its length in bytes.
pub fn write_program_block(memory: &GuestMemory, launch: &Launch) -> Result<u64, BootError> {
    let mut block = Vec::new();
    for string in std::iter::once(&launch.path).chain(&launch.args).chain(&launch.env) {
        block.extend_from_slice(string.as_bytes());
        block.push(0);
    }
    let bytes = block.len() as u64;
    // The LWK needs several times as much to make a stack of it, and some memory to come up.
    let limit = (memory.bytes() - layout::ARGS) / 8;
    let strings = (launch.args.len() + launch.env.len()) as u64;
    let needed = bytes + strings * layout::ARGS_OVERHEAD;
    if needed > limit {
        return Err(BootError::ArgumentsTooLong { needed, limit });
    }
    memory.guest_memory().write_slice(&block, GuestAddress(layout::ARGS))?;
    Ok(bytes)
}

/// Writes the boot record, and the PVH start information that leads to it.
pub fn write_boot_info(memory: &GuestMemory, info: &BootInfo) -> Result<(), BootError> {
    const MODULES_OFFSET: u64 = 0x100;
    const MEMMAP_OFFSET: u64 = 0x200;
    /// `XEN_HVM_START_MAGIC_VALUE`.
    const MAGIC: u32 = 0x336e_c578;
    /// `XEN_HVM_MEMMAP_TYPE_RAM`.
    const RAM: u32 = 1;

    memory.guest_memory().write_slice(as_bytes(info), GuestAddress(layout::BOOT_INFO))?;
    let start_info = hvm_start_info {
        magic: MAGIC,
        version: 1,
        nr_modules: 1,
        modlist_paddr: layout::PVH_INFO + MODULES_OFFSET,
        memmap_paddr: layout::PVH_INFO + MEMMAP_OFFSET,
        memmap_entries: 1,
        ..Default::default()
    };
    let module = hvm_modlist_entry {
        paddr: layout::BOOT_INFO,
        size: size_of::<BootInfo>() as u64,
        ..Default::default()
    };
    let ram = hvm_memmap_table_entry { addr: 0, size: memory.bytes(), type_: RAM, reserved: 0 };

    let mut params = BootParams::new(&start_info, GuestAddress(layout::PVH_INFO));
    params.set_modules(&[module], GuestAddress(start_info.modlist_paddr));
    params.set_sections(&[ram], GuestAddress(start_info.memmap_paddr));
    PvhBootConfigurator::write_bootparams(&params, memory.guest_memory())?;
    Ok(())
}

fn as_bytes(info: &BootInfo) -> &[u8] {
    // SAFETY: `BootInfo` is `repr(C)` of integers without padding (the ABI asserts its size), so all its bytes are
    // initialized.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(info).cast(), size_of::<BootInfo>()) }
}
