//! What a kernel finds in memory when it starts: itself, its initramfs, its command line, and the table that leads to them.

mod error;
mod initramfs;
mod kernel;
mod params;

use std::path::{Path, PathBuf};

use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

pub use error::BootError;
pub use kernel::Protocol;

use initramfs::Initramfs;
use kernel::KernelFile;

use super::layout::{self, Layout};

/// What to boot: files that are there and look right.
#[derive(Debug)]
pub struct Boot {
    kernel: KernelFile,
    initramfs: Initramfs,
}

/// How the boot processor starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Register state that the protocol asks for.
    pub protocol: Protocol,
    /// First instruction.
    pub address: u64,
}

impl Boot {
    /// Opens a kernel (a bzImage, an ELF vmlinux, or an ELF file with a PVH entry) and the archives of its initramfs, which are
    /// unpacked one over the other, and `extra` over them all. Before any memory is asked for, which may take long.
    ///
    /// # Errors
    /// [`BootError`] where a file is missing or not a kernel.
    pub fn open(kernel: &Path, initramfs: &[PathBuf], extra: Vec<u8>) -> Result<Boot, BootError> {
        let kernel = KernelFile::open(kernel)?;
        Ok(Boot { kernel, initramfs: Initramfs::open(initramfs, extra)? })
    }

    /// Fills `memory`, laid out as `layout`: kernel, initramfs, `command_line`, and what leads to them and to ACPI's root
    /// pointer `rsdp`.
    ///
    /// # Errors
    /// [`BootError`] where something is damaged or does not fit.
    pub fn load(
        self,
        memory: &GuestMemoryMmap,
        layout: &Layout,
        command_line: &str,
        rsdp: u64,
    ) -> Result<Entry, BootError> {
        let kernel = self.kernel.load(memory)?;
        write_command_line(memory, command_line, kernel.command_line_limit)?;
        let room = kernel.end..layout.low_ram_end().min(kernel.initramfs_limit);
        let initramfs = self.initramfs.place(memory, room)?;
        let placed = params::Placed { initramfs, rsdp };
        match kernel.entry.protocol {
            Protocol::Linux64 => params::write_zero_page(memory, layout, &kernel, &placed)?,
            Protocol::Pvh => params::write_start_info(memory, layout, &placed)?,
        }
        Ok(kernel.entry)
    }
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
