//! Why a kernel cannot be booted.

use std::io;
use std::path::PathBuf;

use crate::units::Bytes;

/// Why a kernel cannot be booted. Each names what to change.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The kernel cannot be opened.
    #[error("cannot open the kernel {}: {source}", path.display())]
    KernelMissing {
        /// The kernel.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is not a kernel.
    #[error(
        "{} is not a kernel: it is neither a bzImage nor an ELF file; \
         a distribution's is /boot/vmlinuz-VERSION",
        .0.display()
    )]
    NotAKernel(PathBuf),
    /// A kernel of another processor.
    #[error("{} is a kernel for {architecture}; an x86-64 one is needed", path.display())]
    WrongArchitecture {
        /// The kernel.
        path: PathBuf,
        /// What it is for.
        architecture: String,
    },
    /// It looks like a kernel but cannot be loaded.
    #[error("cannot load the kernel {}: {why}; is the file whole, and the guest's memory large enough?", path.display())]
    Damaged {
        /// The kernel.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// An initramfs cannot be read.
    #[error("cannot read the initramfs {}: {source}", path.display())]
    Initramfs {
        /// The archive.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The initramfs does not fit.
    #[error(
        "the initramfs has {bytes}, and beside the kernel there is room for {room}; \
         give the guest more memory (below 3 GiB of it counts) or a smaller initramfs"
    )]
    InitramfsTooBig {
        /// Its size.
        bytes: Bytes,
        /// Room for it.
        room: Bytes,
    },
    /// The command line does not fit.
    #[error(
        "the kernel's command line has {bytes} bytes, and this kernel takes {limit}; shorten cmdline"
    )]
    CommandLineTooLong {
        /// Its length.
        bytes: usize,
        /// The kernel's limit.
        limit: usize,
    },
    /// The command line has a byte 0.
    #[error("the kernel's command line has a NUL character; take it out of cmdline")]
    CommandLineWithNul,
    /// The boot information does not fit in guest memory.
    #[error("cannot write the boot information: {0}")]
    Parameters(#[from] linux_loader::configurator::Error),
    /// A write to guest memory failed.
    #[error("cannot write to guest memory: {0}")]
    Memory(#[from] vm_memory::GuestMemoryError),
}
