//! Kernels that cannot be booted, and where the parts of one that can be go.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};

use super::{Boot, BootError, Entry, Protocol};
use crate::linux::layout::{self, Layout};
use crate::units::Bytes;

const MIB: u64 = 1 << 20;
/// Where the made-up kernel's memory ends: it wants 16 MiB at 16 MiB.
const KERNEL_END: u64 = 32 * MIB;

struct Guest {
    files: TempDir,
    layout: Layout,
    memory: GuestMemoryMmap,
}

impl Guest {
    fn new() -> Guest {
        let layout = Layout::new(Bytes::mib(64), &[], 40).unwrap();
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 64 << 20)]).unwrap();
        Guest { files: TempDir::new().unwrap(), layout, memory }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.files.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn boot(
        &self,
        kernel: &Path,
        initramfs: &[PathBuf],
        command_line: &str,
    ) -> Result<Entry, BootError> {
        let boot = Boot::open(kernel, initramfs, b"extra".to_vec())?;
        boot.load(&self.memory, &self.layout, command_line, 0xe_0000)
    }

    fn zero_page<T: vm_memory::ByteValued>(&self, at: u64) -> T {
        self.memory.read_obj(GuestAddress(layout::ZERO_PAGE + at)).unwrap()
    }
}

/// A file with the header of a bzImage (Linux `Documentation/arch/x86/boot.rst`) and 4 KiB of code.
fn bzimage() -> Vec<u8> {
    let mut image = vec![0x90; 1024 + 4096];
    image[..1024].fill(0);
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1f1, &[1]);
    put(0x1f4, &(4096_u32 / 16).to_le_bytes());
    put(0x1fe, &[0x55, 0xaa]);
    put(0x202, b"HdrS");
    put(0x206, &0x20f_u16.to_le_bytes());
    put(0x211, &[1]);
    put(0x214, &0x10_0000_u32.to_le_bytes());
    put(0x22c, &0x7fff_ffff_u32.to_le_bytes());
    put(0x236, &1_u16.to_le_bytes());
    put(0x238, &100_u32.to_le_bytes());
    put(0x258, &(16 * MIB).to_le_bytes());
    put(0x260, &(16_u32 << 20).to_le_bytes());
    image
}

/// An ELF file of `machine` with one segment at 2 MiB, and a PVH entry there.
fn elf(machine: u16) -> Vec<u8> {
    let mut image = vec![0; 0x1000];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &2_u16.to_le_bytes());
    put(18, &machine.to_le_bytes());
    put(24, &(2 * MIB).to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(54, &56_u16.to_le_bytes());
    put(56, &2_u16.to_le_bytes());
    let mut segment = |at: usize, kind: u32, offset: u64, bytes: u64| {
        put(at, &kind.to_le_bytes());
        put(at + 8, &offset.to_le_bytes());
        put(at + 24, &(2 * MIB).to_le_bytes());
        put(at + 32, &bytes.to_le_bytes());
        put(at + 40, &bytes.to_le_bytes());
    };
    segment(64, 1, 0x800, 0x100);
    segment(120, 4, 0x400, 20);
    put(0x400, &4_u32.to_le_bytes());
    put(0x404, &4_u32.to_le_bytes());
    put(0x408, &18_u32.to_le_bytes());
    put(0x40c, b"Xen\0");
    put(0x410, &0x20_0010_u32.to_le_bytes());
    image
}

#[test]
fn a_bzimage_is_entered_in_64_bit_mode() {
    let guest = Guest::new();
    let kernel = guest.file("bzImage", &bzimage());
    let archives = [guest.file("a", b"12345"), guest.file("b", b"678")];
    let entry = guest.boot(&kernel, &archives, "console=ttyS0").unwrap();
    assert_eq!(entry, Entry { protocol: Protocol::Linux64, address: 0x10_0200 });
    assert_eq!(guest.zero_page::<u64>(0x070), 0xe_0000, "root pointer");
    assert_eq!(guest.zero_page::<u8>(0x1e8), 3, "entries of the memory map");
    let start: u32 = guest.zero_page(0x218);
    assert!(start.is_multiple_of(4096) && u64::from(start) >= KERNEL_END);
    let mut archive = vec![0; guest.zero_page::<u32>(0x21c) as usize];
    guest.memory.read_slice(&mut archive, GuestAddress(start.into())).unwrap();
    assert_eq!(archive, b"12345\0\0\x00678\0extra");
    let mut line = [0; 14];
    let at: u32 = guest.zero_page(0x228);
    guest.memory.read_slice(&mut line, GuestAddress(at.into())).unwrap();
    assert_eq!(&line, b"console=ttyS0\0");
}

#[test]
fn an_elf_file_with_a_note_is_entered_by_pvh() {
    let guest = Guest::new();
    let kernel = guest.file("firmware", &elf(62));
    let entry = guest.boot(&kernel, &[], "").unwrap();
    assert_eq!(entry, Entry { protocol: Protocol::Pvh, address: 0x20_0010 });
    let info: [u64; 7] = guest.memory.read_obj(GuestAddress(layout::PVH_INFO)).unwrap();
    assert_eq!(info[0], 1 << 32 | 0x336e_c578);
    assert_eq!(info[1] >> 32, 1, "a module: the initramfs");
    assert_eq!(info[4], 0xe_0000);
    assert_eq!(info[6], 3, "entries of the memory map");
}

#[test]
fn what_is_no_kernel_is_refused() {
    let guest = Guest::new();
    let boot = |kernel: &Path| guest.boot(kernel, &[], "").unwrap_err();
    assert!(matches!(boot(Path::new("/missing")), BootError::KernelMissing { .. }));
    assert!(matches!(boot(&guest.file("text", b"#!/bin/sh\n")), BootError::NotAKernel(_)));
    assert!(matches!(boot(&guest.file("empty", b"")), BootError::NotAKernel(_)));
    assert!(matches!(boot(guest.files.path()), BootError::NotAKernel(_)));
    let arm = boot(&guest.file("arm", &elf(183)));
    assert!(arm.to_string().contains("is a kernel for aarch64"), "{arm}");
    let cut = boot(&guest.file("cut", &elf(62)[..100]));
    assert!(matches!(cut, BootError::Damaged { .. }), "{cut}");
    let image = bzimage();
    let cut = boot(&guest.file("short", &image[..image.len() - 1]));
    assert!(cut.to_string().contains("to have 5120 bytes and has 5119"), "{cut}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let guest = Guest::new();
    let kernel = guest.file("bzImage", &bzimage());
    let huge = guest.file("huge", b"");
    // Sparse: nothing of it is read, because it does not fit.
    fs::File::options().write(true).open(&huge).unwrap().set_len(4 << 30).unwrap();
    match guest.boot(&kernel, &[huge], "") {
        Err(BootError::InitramfsTooBig { room, .. }) => assert_eq!(room, Bytes::mib(32)),
        other => panic!("{other:?}"),
    }
    let exact = guest.file("exact", b"");
    fs::File::options().write(true).open(&exact).unwrap().set_len(32 * MIB - 8).unwrap();
    guest.boot(&kernel, &[exact], "").unwrap();
    let missing = guest.boot(&kernel, &[PathBuf::from("/missing")], "").unwrap_err();
    assert!(matches!(missing, BootError::Initramfs { .. }));
    let long = guest.boot(&kernel, &[], &"x".repeat(101)).unwrap_err();
    assert!(matches!(long, BootError::CommandLineTooLong { bytes: 101, limit: 100 }));
    let nul = guest.boot(&kernel, &[], "a\0b").unwrap_err();
    assert!(matches!(nul, BootError::CommandLineWithNul));
}
