//! Where a program file wants to lie (System V gABI chapters 4 and 5, with Linux's rules for what it accepts).
//!
//! The VMM parses a program before anything starts, for a good error; the LWK parses it again, because it
//! loads it and trusts nobody. Both read the first bytes of the file and call [`Program::parse`]; nothing
//! here reads.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use elf::abi;
use elf::endian::LittleEndian;
use elf::file::{Class, FileHeader, parse_ident};
use elf::parse::ParsingTable;
use elf::segment::ProgramHeader;
use margay_abi::layout::{PAGE, USER_END, USER_START};

use crate::space::Prot;
use crate::{align_down, align_up};

/// Bytes of a file to read at first: enough for nearly every program.
pub const HEAD_BYTES: usize = PAGE as usize;
/// The most bytes of a file that may have to be read.
pub const HEAD_MAX: usize = 1 << 20;

const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
/// The most bytes of program headers, as in Linux.
const HEADERS_MAX: u64 = 64 << 10;
/// Linux's `PATH_MAX`.
const PATH_MAX: u64 = 4096;

/// Where a program may lie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// At its file's addresses (`ET_EXEC`).
    Fixed,
    /// Anywhere (`ET_DYN`): its addresses count from the load address.
    Pie,
}

/// A `PT_LOAD` segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// First address, not always at a page boundary.
    pub vaddr: u64,
    /// Bytes in memory, at least `file_len`; the rest is zero.
    pub mem_len: u64,
    /// Where its bytes are in the file. Congruent to `vaddr` modulo a page.
    pub file_offset: u64,
    /// Bytes in the file.
    pub file_len: u64,
    /// What the program may do there.
    pub prot: Prot,
}

impl Segment {
    /// The whole pages that it lies in. No other segment lies in them.
    pub const fn pages(&self) -> Range<u64> {
        align_down(self.vaddr, PAGE)..(self.vaddr + self.mem_len).next_multiple_of(PAGE)
    }
}

/// A static or static-PIE program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// Where it may lie.
    pub placement: Placement,
    /// Its first instruction, in an executable segment.
    pub entry: u64,
    /// Address of the program headers in memory, for `AT_PHDR`; 0 if no segment holds them.
    pub phdr_vaddr: u64,
    /// Number of program headers, for `AT_PHNUM`.
    pub phnum: u64,
    /// Bytes in a program header, for `AT_PHENT`.
    pub phentsize: u64,
    /// The segments, at least one, ascending, each in pages of its own, all inside a program's addresses.
    pub segments: Vec<Segment>,
    /// The strictest alignment that a segment asks for, at least a page: that of the load address of a PIE.
    pub align: u64,
    /// It wants an executable stack (`PT_GNU_STACK`).
    pub stack_executable: bool,
}

/// Why a file cannot be run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ElfError {
    /// The bytes given are too few to say. Read `needed` bytes (at most [`HEAD_MAX`]) and parse again.
    #[error("the file is truncated: its headers take {needed} bytes")]
    Incomplete {
        /// Bytes from the start of the file.
        needed: usize,
    },
    /// It does not begin with the ELF magic.
    #[error("not an ELF program; to run a script, name its interpreter as the program")]
    NotElf,
    /// It is for 32 bits.
    #[error("a 32-bit program; build it for x86-64")]
    WrongClass,
    /// It is for another machine.
    #[error("a program for {name} (ELF machine {machine}); build it for x86-64")]
    WrongMachine {
        /// `e_machine`.
        machine: u16,
        /// Its usual name.
        name: &'static str,
    },
    /// It is an object file, a core dump, ...
    #[error("not an executable file (ELF type {0}); link it")]
    NotExecutable(u16),
    /// It needs a dynamic linker.
    #[error("dynamically linked (interpreter {interpreter}); link it with -static")]
    Dynamic {
        /// The dynamic linker's path.
        interpreter: String,
    },
    /// There is nothing to load.
    #[error("the program has no loadable segment")]
    NoSegments,
    /// The header contradicts itself or the specification.
    #[error("malformed program: {0}")]
    Malformed(&'static str),
    /// A segment contradicts itself or the others.
    #[error("malformed program: segment {index} (at {vaddr:#x}) {fault}")]
    BadSegment {
        /// Index of its program header.
        index: usize,
        /// Its address.
        vaddr: u64,
        /// What is wrong.
        fault: SegmentFault,
    },
}

/// What can be wrong with a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SegmentFault {
    /// It reaches outside a program's addresses.
    #[error("lies outside a program's addresses, 0x10000 to 0x500000000000")]
    OutOfRange,
    /// It has more bytes in the file than in memory, or an end beyond 2^64 there.
    #[error("has a wrong length")]
    Length,
    /// Address and file offset differ modulo a page, or the alignment is no power of two.
    #[error("is misaligned")]
    Misaligned,
    /// It shares a page with the one before.
    #[error("overlaps the one before")]
    Overlap,
    /// It lies below the one before.
    #[error("is out of order")]
    Unsorted,
}

impl Program {
    /// Parses the first bytes of a program file.
    ///
    /// # Errors
    /// [`ElfError`]; [`ElfError::Incomplete`] asks for more bytes.
    pub fn parse(head: &[u8]) -> Result<Program, ElfError> {
        let header = parse_header(head)?;
        let placement = match header.e_type {
            abi::ET_EXEC => Placement::Fixed,
            abi::ET_DYN => Placement::Pie,
            other => return Err(ElfError::NotExecutable(other)),
        };
        let headers = program_headers(&header, head)?;
        if let Some(interp) = headers.iter().find(|header| header.p_type == abi::PT_INTERP) {
            return Err(ElfError::Dynamic { interpreter: interpreter(&interp, head)? });
        }

        let mut segments: Vec<Segment> = Vec::new();
        let mut align = PAGE;
        for (index, header) in headers.iter().enumerate() {
            if header.p_type == abi::PT_LOAD && header.p_memsz != 0 {
                let segment =
                    check_segment(&header, placement, segments.last()).map_err(|fault| {
                        ElfError::BadSegment { index, vaddr: header.p_vaddr, fault }
                    })?;
                segments.push(segment);
                align = align.max(header.p_align);
            }
        }
        if segments.is_empty() {
            return Err(ElfError::NoSegments);
        }
        let runs = |s: &Segment| s.prot.contains(Prot::EXEC) && s.holds(header.e_entry);
        if !segments.iter().any(runs) {
            return Err(ElfError::Malformed("the entry point is not in an executable segment"));
        }
        Ok(Program {
            placement,
            entry: header.e_entry,
            phdr_vaddr: segments.iter().find_map(|s| s.vaddr_of(header.e_phoff)).unwrap_or(0),
            phnum: header.e_phnum.into(),
            phentsize: header.e_phentsize.into(),
            stack_executable: headers
                .iter()
                .any(|h| h.p_type == abi::PT_GNU_STACK && h.p_flags & abi::PF_X != 0),
            segments,
            align,
        })
    }

    /// The pages from the first segment to the last.
    pub fn image(&self) -> Range<u64> {
        let start = self.segments.first().map_or(0, |segment| segment.pages().start);
        start..self.segments.last().map_or(0, |segment| segment.pages().end)
    }

    /// The least number of bytes that the file must have.
    pub fn file_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.file_offset + s.file_len).max().unwrap_or(0)
    }
}

impl Segment {
    const fn holds(&self, vaddr: u64) -> bool {
        self.vaddr <= vaddr && vaddr - self.vaddr < self.mem_len
    }

    /// The address of the byte at `offset` of the file.
    fn vaddr_of(&self, offset: u64) -> Option<u64> {
        let into = offset.checked_sub(self.file_offset).filter(|&into| into < self.file_len)?;
        Some(self.vaddr + into)
    }
}

fn parse_header(head: &[u8]) -> Result<FileHeader<LittleEndian>, ElfError> {
    if !head.starts_with(&abi::ELFMAGIC) {
        return Err(ElfError::NotElf);
    }
    let head = head.get(..HEADER_BYTES).ok_or(ElfError::Incomplete { needed: HEADER_BYTES })?;
    if head[abi::EI_CLASS] != abi::ELFCLASS64 {
        return Err(ElfError::WrongClass);
    }
    if head[abi::EI_DATA] != abi::ELFDATA2LSB {
        return Err(ElfError::WrongMachine { machine: 0, name: "a big-endian processor" });
    }
    let (ident, tail) = head.split_at(abi::EI_NIDENT);
    let header = parse_ident(ident)
        .and_then(|ident| FileHeader::parse_tail(ident, tail))
        .map_err(|_| ElfError::Malformed("unknown ELF version"))?;
    if header.e_machine != abi::EM_X86_64 {
        let name = machine_name(header.e_machine);
        return Err(ElfError::WrongMachine { machine: header.e_machine, name });
    }
    Ok(header)
}

fn program_headers<'a>(
    header: &FileHeader<LittleEndian>,
    head: &'a [u8],
) -> Result<ParsingTable<'a, LittleEndian, ProgramHeader>, ElfError> {
    if usize::from(header.e_phentsize) != PROGRAM_HEADER_BYTES {
        return Err(ElfError::Malformed("program headers of an unknown size"));
    }
    let bytes = u64::from(header.e_phnum) * PROGRAM_HEADER_BYTES as u64;
    if bytes > HEADERS_MAX {
        return Err(ElfError::Malformed("too many program headers"));
    }
    let table = file_part(head, header.e_phoff, bytes)?;
    Ok(ParsingTable::new(LittleEndian, Class::ELF64, table))
}

/// The path in a `PT_INTERP` segment.
fn interpreter(header: &ProgramHeader, head: &[u8]) -> Result<String, ElfError> {
    if header.p_filesz > PATH_MAX {
        return Err(ElfError::Malformed("the interpreter's path is too long"));
    }
    let bytes = file_part(head, header.p_offset, header.p_filesz)?;
    let path = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(path).into_owned())
}

/// `bytes` bytes at `offset` of the file.
fn file_part(head: &[u8], offset: u64, bytes: u64) -> Result<&[u8], ElfError> {
    let end = offset.checked_add(bytes).filter(|&end| end <= HEAD_MAX as u64);
    let end = end.ok_or(ElfError::Malformed("headers lie too far into the file"))? as usize;
    head.get(offset as usize..end).ok_or(ElfError::Incomplete { needed: end })
}

fn check_segment(
    header: &ProgramHeader,
    placement: Placement,
    before: Option<&Segment>,
) -> Result<Segment, SegmentFault> {
    let segment = Segment {
        vaddr: header.p_vaddr,
        mem_len: header.p_memsz,
        file_offset: header.p_offset,
        file_len: header.p_filesz,
        prot: prot(header.p_flags),
    };
    let lowest = match placement {
        Placement::Fixed => USER_START,
        Placement::Pie => 0,
    };
    let end = segment.vaddr.checked_add(segment.mem_len).and_then(|end| align_up(end, PAGE));
    if segment.vaddr < lowest || end.is_none_or(|end| end > USER_END) {
        return Err(SegmentFault::OutOfRange);
    }
    if segment.file_len > segment.mem_len
        || segment.file_offset.checked_add(segment.file_len).is_none()
    {
        return Err(SegmentFault::Length);
    }
    let congruent = segment.vaddr % PAGE == segment.file_offset % PAGE || segment.file_len == 0;
    let align_known = header.p_align == 0 || header.p_align.is_power_of_two();
    if !congruent || !align_known || header.p_align > USER_END {
        return Err(SegmentFault::Misaligned);
    }
    match before {
        Some(before) if segment.vaddr < before.vaddr => Err(SegmentFault::Unsorted),
        Some(before) if segment.pages().start < before.pages().end => Err(SegmentFault::Overlap),
        _ => Ok(segment),
    }
}

fn prot(flags: u32) -> Prot {
    let mut prot = Prot::empty();
    prot.set(Prot::READ, flags & abi::PF_R != 0);
    prot.set(Prot::WRITE, flags & abi::PF_W != 0);
    prot.set(Prot::EXEC, flags & abi::PF_X != 0);
    prot
}

/// Names of the machines that a user is likely to have a program for.
const fn machine_name(machine: u16) -> &'static str {
    match machine {
        abi::EM_386 => "i386",
        abi::EM_AARCH64 => "AArch64",
        abi::EM_ARM => "ARM",
        abi::EM_RISCV => "RISC-V",
        abi::EM_PPC64 => "PowerPC64",
        abi::EM_S390 => "S/390",
        _ => "another processor",
    }
}

#[cfg(test)]
mod tests;
