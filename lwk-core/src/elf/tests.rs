use std::string::ToString;
use std::vec::Vec;

use margay_abi::layout::{PAGE, USER_END};
use proptest::collection::vec;
use proptest::prelude::any;
use proptest::sample::Index;
use proptest::{prop_assert, proptest};

use super::{ElfError, HEAD_MAX, Placement, Program, Segment, SegmentFault};
use crate::space::Prot;

const EXEC: u16 = 2;
const DYN: u16 = 3;
const LOAD: u32 = 1;
const INTERP: u32 = 3;
const PHDR: u32 = 6;
const GNU_STACK: u32 = 0x6474_e551;
const RX: u32 = 5;
const RW: u32 = 6;

/// A program header: type, flags, offset, address, bytes in the file, bytes in memory, alignment.
type Header = (u32, u32, u64, u64, u64, u64, u64);

/// The headers of a file of 4 KiB.
fn file(kind: u16, entry: u64, headers: &[Header]) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let mut put = |field: &[u8]| bytes.extend_from_slice(field);
    put(&kind.to_le_bytes());
    put(&62_u16.to_le_bytes());
    put(&1_u32.to_le_bytes());
    put(&entry.to_le_bytes());
    put(&64_u64.to_le_bytes());
    put(&0_u64.to_le_bytes());
    put(&0_u32.to_le_bytes());
    [64, 56, headers.len() as u16, 64, 0, 0].iter().for_each(|half: &u16| put(&half.to_le_bytes()));
    for &(kind, flags, offset, vaddr, file_len, mem_len, align) in headers {
        put(&kind.to_le_bytes());
        put(&flags.to_le_bytes());
        let words = [offset, vaddr, vaddr, file_len, mem_len, align];
        words.iter().for_each(|word| put(&word.to_le_bytes()));
    }
    bytes.resize(PAGE as usize, 0);
    bytes
}

const TEXT: Header = (LOAD, RX, 0, 0x40_0000, 0x1800, 0x1800, 0x1000);
const DATA: Header = (LOAD, RW, 0x1e10, 0x40_2e10, 0x200, 0x5000, 0x20_0000);

/// The fault of a program with the segments `headers`.
fn fault(kind: u16, headers: &[Header]) -> SegmentFault {
    match Program::parse(&file(kind, 0x40_1000, headers)) {
        Err(ElfError::BadSegment { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_static_program() {
    let head = file(EXEC, 0x40_1000, &[(PHDR, 4, 64, 0x40_0040, 168, 168, 8), TEXT, DATA]);
    let program = Program::parse(&head).unwrap();
    assert_eq!(program.placement, Placement::Fixed);
    assert_eq!((program.entry, program.phdr_vaddr), (0x40_1000, 0x40_0040));
    assert_eq!((program.phnum, program.phentsize), (3, 56));
    assert_eq!(program.segments[0].prot, Prot::READ | Prot::EXEC);
    let data = Segment {
        vaddr: 0x40_2e10,
        mem_len: 0x5000,
        file_offset: 0x1e10,
        file_len: 0x200,
        prot: Prot::READ | Prot::WRITE,
    };
    assert_eq!(program.segments[1], data);
    assert_eq!((data.pages(), program.image()), (0x40_2000..0x40_8000, 0x40_0000..0x40_8000));
    assert_eq!((program.align, program.file_bytes()), (0x20_0000, 0x2010));
    assert!(!program.stack_executable);
}

#[test]
fn a_static_pie_program() {
    let dynamic: Header = (2, RW, 0x1e10, 0x2e10, 0x100, 0x100, 8);
    let text: Header = (LOAD, RX, 0, 0, 0x1800, 0x1800, 0x1000);
    let head = file(DYN, 0x1000, &[text, dynamic, (GNU_STACK, 7, 0, 0, 0, 0, 16)]);
    let program = Program::parse(&head).unwrap();
    assert_eq!((program.placement, program.phdr_vaddr), (Placement::Pie, 64));
    assert!(program.stack_executable);
}

#[test]
fn what_cannot_run_says_why() {
    let parse = |head: &[u8]| Program::parse(head).unwrap_err();
    let good = file(EXEC, 0x40_1000, &[TEXT, DATA]);
    assert_eq!(parse(b"#!/bin/sh\n"), ElfError::NotElf);
    assert_eq!(parse(b""), ElfError::NotElf);
    assert_eq!(parse(&good[..20]), ElfError::Incomplete { needed: 64 });
    assert_eq!(parse(&good[..100]), ElfError::Incomplete { needed: 64 + 2 * 56 });
    let with = |at: usize, byte: u8| {
        let mut head = good.clone();
        head[at] = byte;
        parse(&head)
    };
    assert_eq!(with(4, 1), ElfError::WrongClass);
    assert_eq!(with(18, 183), ElfError::WrongMachine { machine: 183, name: "AArch64" });
    assert!(with(18, 183).to_string().contains("AArch64"));
    assert_eq!(with(16, 1), ElfError::NotExecutable(1));
    assert!(matches!(with(6, 9), ElfError::Malformed(_)));
    assert!(matches!(with(54, 57), ElfError::Malformed(_)));
    assert!(matches!(with(39, 1), ElfError::Malformed(_)), "program headers at 2^56");
    assert!(matches!(with(25, 0x20), ElfError::Malformed(_)), "entry in the data");
    assert_eq!(parse(&file(EXEC, 0, &[])), ElfError::NoSegments);
}

#[test]
fn segments_must_make_sense() {
    let (_, _, _, at, len, mem, align) = TEXT;
    let text = |offset, vaddr, file_len, mem_len, align| {
        [(LOAD, RX, offset, vaddr, file_len, mem_len, align)]
    };
    assert_eq!(fault(EXEC, &text(0, 0, len, mem, align)), SegmentFault::OutOfRange);
    assert_eq!(fault(EXEC, &text(0, USER_END, len, mem, align)), SegmentFault::OutOfRange);
    assert_eq!(fault(DYN, &text(0, PAGE, len, u64::MAX, align)), SegmentFault::OutOfRange);
    assert_eq!(fault(EXEC, &text(0, at, mem + 1, mem, align)), SegmentFault::Length);
    assert_eq!(fault(EXEC, &text(!0xfff, at, mem, mem, align)), SegmentFault::Length);
    assert_eq!(fault(EXEC, &text(8, at, len, mem, align)), SegmentFault::Misaligned);
    assert_eq!(fault(EXEC, &text(0, at, len, mem, 3)), SegmentFault::Misaligned);
    assert_eq!(fault(EXEC, &[DATA, TEXT]), SegmentFault::Unsorted);
    assert_eq!(fault(EXEC, &[TEXT, TEXT]), SegmentFault::Overlap);
}

#[test]
fn a_dynamic_program_names_its_interpreter() {
    let path = b"/lib64/ld.so\0";
    let interp: Header = (INTERP, 4, 0x200, 0x200, path.len() as u64, path.len() as u64, 1);
    let mut head = file(DYN, 0x1000, &[interp, TEXT]);
    head[0x200..][..path.len()].copy_from_slice(path);
    let error = Program::parse(&head).unwrap_err();
    assert_eq!(error, ElfError::Dynamic { interpreter: "/lib64/ld.so".to_string() });
    assert_eq!(Program::parse(&head[..0x204]), Err(ElfError::Incomplete { needed: 0x20d }));
}

#[test]
fn this_very_test_is_an_elf_program() {
    let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    match Program::parse(&file) {
        Ok(program) => assert!(program.file_bytes() <= file.len() as u64),
        Err(ElfError::Dynamic { interpreter }) => assert!(interpreter.starts_with('/')),
        Err(error) => panic!("{error}"),
    }
}

/// What [`Program::parse`] promises of a program.
fn is_sound(program: &Program) -> bool {
    let pages: Vec<_> = program.segments.iter().map(Segment::pages).collect();
    let sound = |s: &Segment| s.file_len <= s.mem_len && s.pages().end <= USER_END;
    !pages.is_empty()
        && pages.windows(2).all(|pair| pair[0].end <= pair[1].start)
        && program.segments.iter().all(sound)
        && program.image().contains(&program.entry)
        && program.align.is_power_of_two()
        && program.file_bytes() < u64::MAX
}

proptest! {
    #[test]
    fn flipped_bits_never_panic(flips in vec((any::<Index>(), 0..8_u32), 1..6), cut in any::<Index>()) {
        let mut head = file(EXEC, 0x40_1000, &[(PHDR, 4, 64, 0x40_0040, 168, 168, 8), TEXT, DATA]);
        for (at, bit) in flips {
            head[at.index(64 + 3 * 56)] ^= 1 << bit;
        }
        for head in [&head[..], &head[..cut.index(head.len())]] {
            match Program::parse(head) {
                Ok(program) => prop_assert!(is_sound(&program)),
                Err(ElfError::Incomplete { needed }) => {
                    prop_assert!(needed > head.len() && needed <= HEAD_MAX);
                }
                Err(_) => {}
            }
        }
    }

    #[test]
    fn random_headers_never_panic(
        kind in 2..4_u16, entry: u64, headers in vec(any::<Header>(), 0..8), loads: bool
    ) {
        let plausible = |h: Header| (LOAD, h.1, h.2, h.3 >> 20, h.4, h.5 >> 30, 0);
        let headers: Vec<Header> =
            headers.into_iter().map(|h| if loads { plausible(h) } else { h }).collect();
        if let Ok(program) = Program::parse(&file(kind, entry, &headers)) {
            prop_assert!(is_sound(&program));
        }
    }
}
