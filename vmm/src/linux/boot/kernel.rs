//! The kernel: what kind of file it is, where it goes, how it is entered.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use linux_loader::loader::bootparam::setup_header;
use linux_loader::loader::{BzImage, Elf, Error as LoadError, KernelLoader, PvhBootCapability};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::{BootError, Entry};
use crate::linux::layout;

/// How a kernel wants to be entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// In 64-bit mode, with the zero page (Linux `Documentation/arch/x86/boot.rst`, "64-bit boot protocol").
    Linux64,
    /// In 32-bit mode, with start information (Xen `docs/misc/pvh.pandoc`).
    Pvh,
}

/// A kernel in guest memory.
#[derive(Debug)]
pub struct Kernel {
    /// How it is entered.
    pub entry: Entry,
    /// Its own header, of a bzImage.
    pub header: Option<setup_header>,
    /// First address that it leaves free.
    pub end: u64,
    /// First address that its initramfs must not reach.
    pub initramfs_limit: u64,
    /// Bytes of command line that it takes.
    pub command_line_limit: usize,
}

/// The 64-bit entry's offset in the protected-mode part of a bzImage.
const ENTRY_64: u64 = 0x200;
/// `xloadflags`: it has that entry.
const HAS_ENTRY_64: u16 = 1;
/// Linux's own `COMMAND_LINE_SIZE` on x86, with the final zero.
const COMMAND_LINE_SIZE: usize = 2048;
/// Initramfs addresses are 32 bits in PVH kernels' practice and in ours.
const ANYWHERE_LOW: u64 = layout::LOW_RAM_LIMIT;

/// Bytes of a file that tell what it is.
const HEAD: usize = 0x268;

/// An open file that looks like a kernel.
#[derive(Debug)]
pub struct KernelFile {
    path: PathBuf,
    file: File,
    format: Format,
}

/// The formats that can be loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    BzImage,
    Elf,
}

impl KernelFile {
    /// Opens the kernel at `path` and looks at its first bytes.
    ///
    /// # Errors
    /// [`BootError`] where it is missing or not a kernel that this VMM can boot.
    pub fn open(path: &Path) -> Result<KernelFile, BootError> {
        let path = path.to_owned();
        let missing = |source| BootError::KernelMissing { path: path.clone(), source };
        let file = File::open(&path).map_err(missing)?;
        let metadata = file.metadata().map_err(missing)?;
        if metadata.is_dir() {
            return Err(BootError::NotAKernel(path));
        }
        let mut head = Vec::new();
        (&file).take(HEAD as u64).read_to_end(&mut head).map_err(missing)?;
        match Kind::of(&head) {
            // Such a kernel would start, and end without a word when it unpacks itself.
            Kind::Kernel(Format::BzImage) if metadata.len() < bzimage_bytes(&head) => {
                let (whole, has) = (bzimage_bytes(&head), metadata.len());
                let why = format!("it is to have {whole} bytes and has {has}");
                Err(BootError::Damaged { path, why })
            }
            Kind::Kernel(format) => Ok(KernelFile { path, file, format }),
            Kind::Other(architecture) => Err(BootError::WrongArchitecture { path, architecture }),
            Kind::Nothing => Err(BootError::NotAKernel(path)),
        }
    }

    /// Puts the kernel where it wants to be.
    ///
    /// # Errors
    /// [`BootError::Damaged`] where the file does not hold what its header says, or `memory` ends before it.
    pub fn load(mut self, memory: &GuestMemoryMmap) -> Result<Kernel, BootError> {
        let loaded = match self.format {
            Format::BzImage => load_bzimage(memory, &mut self.file),
            Format::Elf => load_elf(memory, &mut self.file),
        };
        loaded.map_err(|error| BootError::Damaged { path: self.path, why: error.to_string() })
    }
}

/// How long a bzImage that begins with `head` says it is, at least (Linux `Documentation/arch/x86/boot.rst`: `setup_sects`,
/// `syssize`).
fn bzimage_bytes(head: &[u8]) -> u64 {
    const SECTOR: u64 = 512;
    const PARAGRAPH: u64 = 16;
    /// What 0 in `setup_sects` means.
    const OLD_SETUP: u8 = 4;
    let (Some(&sectors), Some(size)) = (head.get(0x1f1), head.get(0x1f4..0x1f8)) else { return 0 };
    let sectors = if sectors == 0 { OLD_SETUP } else { sectors };
    let size = size.try_into().map_or(0, u32::from_le_bytes);
    (u64::from(sectors) + 1) * SECTOR + u64::from(size) * PARAGRAPH
}

/// What a file is, by its first bytes.
#[derive(PartialEq, Eq, Debug)]
enum Kind {
    Kernel(Format),
    /// A kernel, but for that.
    Other(String),
    Nothing,
}

impl Kind {
    fn of(head: &[u8]) -> Kind {
        let word = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?));
        if head.starts_with(b"\x7fELF") {
            return match (head.get(4), head.get(5), word(18)) {
                (Some(2), Some(1), Some(62)) => Kind::Kernel(Format::Elf),
                (Some(1), _, Some(3)) => Kind::Other("32-bit x86".to_owned()),
                (_, _, Some(183)) => Kind::Other("aarch64".to_owned()),
                (_, _, Some(243)) => Kind::Other("RISC-V".to_owned()),
                (_, Some(1), Some(machine)) => Kind::Other(format!("ELF machine {machine}")),
                (_, Some(2), _) => Kind::Other("a big-endian processor".to_owned()),
                _ => Kind::Nothing,
            };
        }
        if head.get(0x202..0x206) == Some(b"HdrS") {
            let protocol = word(0x206).unwrap_or(0);
            return match word(0x236) {
                // `xloadflags` came with version 2.12 (Linux 3.8).
                Some(flags) if protocol >= 0x20c && flags & HAS_ENTRY_64 != 0 => {
                    Kind::Kernel(Format::BzImage)
                }
                _ => Kind::Other("32-bit x86".to_owned()),
            };
        }
        // Linux `Documentation/arch/arm64/booting.rst`, `Documentation/arch/riscv/boot-image-header.rst`.
        match head.get(0x38..0x3c) {
            Some(b"ARM\x64") => Kind::Other("aarch64".to_owned()),
            Some(b"RSC\x05") => Kind::Other("RISC-V".to_owned()),
            _ => Kind::Nothing,
        }
    }
}

fn load_bzimage(memory: &GuestMemoryMmap, file: &mut File) -> Result<Kernel, LoadError> {
    let high = Some(GuestAddress(layout::HIGH_MEMORY));
    let loaded = BzImage::load(memory, None, file, high)?;
    let header = loaded.setup_header.unwrap_or_default();
    // The kernel decompresses itself to its preferred address or right here, and needs `init_size` bytes for that.
    let base = loaded.kernel_load.0.max(header.pref_address);
    let end = loaded.kernel_end.max(base.saturating_add(u64::from(header.init_size)));
    Ok(Kernel {
        entry: Entry { protocol: Protocol::Linux64, address: loaded.kernel_load.0 + ENTRY_64 },
        header: Some(header),
        end,
        initramfs_limit: u64::from(header.initrd_addr_max) + 1,
        command_line_limit: header.cmdline_size as usize,
    })
}

fn load_elf(memory: &GuestMemoryMmap, file: &mut File) -> Result<Kernel, LoadError> {
    let high = Some(GuestAddress(layout::HIGH_MEMORY));
    // A PVH kernel's 64-bit entry may be a virtual address, which does not matter.
    let loaded = Elf::load(memory, None, file, None)?;
    let entry = match loaded.pvh_boot_cap {
        PvhBootCapability::PvhEntryPresent(entry) => {
            Entry { protocol: Protocol::Pvh, address: entry.0 }
        }
        _ => {
            let loaded = Elf::load(memory, None, file, high)?;
            Entry { protocol: Protocol::Linux64, address: loaded.kernel_load.0 }
        }
    };
    Ok(Kernel {
        entry,
        header: None,
        end: loaded.kernel_end,
        initramfs_limit: ANYWHERE_LOW,
        command_line_limit: COMMAND_LINE_SIZE - 1,
    })
}

#[cfg(test)]
mod tests {
    use super::{Format, Kind};
    use proptest::prelude::{any, proptest};

    #[test]
    fn kinds_are_told_apart() {
        let elf = |class: u8, data: u8, machine: u16| {
            let mut head = vec![0; 64];
            head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, data]);
            head[18..20].copy_from_slice(&machine.to_le_bytes());
            Kind::of(&head)
        };
        assert_eq!(elf(2, 1, 62), Kind::Kernel(Format::Elf));
        assert_eq!(elf(1, 1, 3), Kind::Other("32-bit x86".to_owned()));
        assert_eq!(elf(2, 1, 183), Kind::Other("aarch64".to_owned()));
        assert_eq!(elf(2, 1, 258), Kind::Other("ELF machine 258".to_owned()));
        let mut image = vec![0; 0x268];
        image[0x38..0x3c].copy_from_slice(b"ARM\x64");
        assert_eq!(Kind::of(&image), Kind::Other("aarch64".to_owned()));
        image[0x202..0x206].copy_from_slice(b"HdrS");
        assert_eq!(Kind::of(&image), Kind::Other("32-bit x86".to_owned()));
        image[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        image[0x236] = 1;
        assert_eq!(Kind::of(&image), Kind::Kernel(Format::BzImage));
        assert_eq!(Kind::of(b"#!/bin/sh\n"), Kind::Nothing);
        assert_eq!(Kind::of(b""), Kind::Nothing);
    }

    proptest! {
        #[test]
        fn any_head_is_survived(head in proptest::collection::vec(any::<u8>(), 0..0x268)) {
            Kind::of(&head);
            Kind::of(&[b"\x7fELF", &head[..]].concat());
        }
    }
}
