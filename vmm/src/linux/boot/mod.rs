//! What a kernel finds in memory when it starts: itself, its initramfs, its command line, and the table that leads to them.

mod error;
mod initramfs;
mod kernel;
mod params;

use std::path::PathBuf;

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

pub use error::BootError;
pub use initramfs::Initramfs;
pub use kernel::Protocol;

use super::layout::{self, Layout};

/// What to boot.
#[derive(Clone, Copy, Debug)]
pub struct Boot<'a> {
    /// The kernel: a bzImage, an ELF vmlinux, or an ELF file with a PVH entry.
    pub kernel: &'a PathBuf,
    /// Archives that are its first file system, one unpacked over the other.
    pub initramfs: Initramfs<'a>,
    /// The whole command line.
    pub command_line: &'a str,
    /// Address of ACPI's root pointer.
    pub rsdp: u64,
}

/// How the boot processor starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Register state that the protocol asks for.
    pub protocol: Protocol,
    /// First instruction.
    pub address: u64,
}

/// Fills `memory`, laid out as `layout`, for `boot`.
///
/// # Errors
/// [`BootError`] where a file is missing, wrong, or too big.
pub fn load(
    memory: &GuestMemoryMmap,
    layout: &Layout,
    boot: &Boot<'_>,
) -> Result<Entry, BootError> {
    let kernel = kernel::load(memory, boot.kernel)?;
    write_command_line(memory, boot.command_line, kernel.command_line_limit)?;
    let room = kernel.end..layout.low_ram_end().min(kernel.initramfs_limit);
    let initramfs = boot.initramfs.place(memory, room)?;
    let placed = params::Placed { initramfs, rsdp: boot.rsdp };
    match kernel.entry.protocol {
        Protocol::Linux64 => params::write_zero_page(memory, layout, &kernel, &placed)?,
        Protocol::Pvh => params::write_start_info(memory, layout, &placed)?,
    }
    Ok(kernel.entry)
}

fn write_command_line(memory: &GuestMemoryMmap, line: &str, limit: usize) -> Result<(), BootError> {
    if line.len() > limit {
        return Err(BootError::CommandLineTooLong { bytes: line.len(), limit });
    }
    if line.contains('\0') {
        return Err(BootError::CommandLineWithNul);
    }
    let bytes = [line.as_bytes(), &[0]].concat();
    Ok(memory.write_slice(&bytes, GuestAddress(layout::COMMAND_LINE))?)
}

#[cfg(test)]
mod tests;
