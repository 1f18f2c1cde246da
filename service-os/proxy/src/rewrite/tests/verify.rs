//! Checks a plan against the text it was made for, by decoding what would lie in memory.

use std::collections::{BTreeMap, HashSet};

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};
use margay_abi::rewrite::{PATCH_BYTES, Patch, STUB_AREA_START};

use super::super::Plan;

/// `jmp rel8`.
const JMP_REL8: u8 = 0xeb;
/// Fills holes.
const INT3: u8 = 0xcc;

/// How many sites got which patch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Coverage {
    pub before_one: u32,
    pub before_several: u32,
    pub padding: u32,
    pub after: u32,
    pub skipped: u32,
}

/// Memory as the LWK would make it of a plan.
struct Memory<'a> {
    text: &'a [u8],
    text_addr: u64,
    stubs_addr: u64,
    stubs: &'a [u8],
    patched: Vec<u8>,
}

impl Memory<'_> {
    fn original(&self, addr: u64) -> Instruction {
        decode(self.text, self.text_addr, addr)
    }

    fn patched(&self, addr: u64) -> Instruction {
        decode(&self.patched, self.text_addr, addr)
    }

    fn stub(&self, addr: u64) -> Instruction {
        decode(self.stubs, self.stubs_addr + STUB_AREA_START, addr)
    }
}

fn decode(bytes: &[u8], base: u64, addr: u64) -> Instruction {
    let offset = usize::try_from(addr.checked_sub(base).expect("inside")).unwrap();
    let mut decoder = Decoder::with_ip(64, &bytes[offset..], addr, DecoderOptions::NONE);
    let instr = decoder.decode();
    assert!(!instr.is_invalid(), "no instruction at {addr:#x}");
    instr
}

/// Checks every patch and every stub.
pub fn check(
    text: &[u8],
    text_addr: u64,
    stubs_addr: u64,
    stubs_len: u64,
    plan: &Plan,
) -> Coverage {
    assert!(STUB_AREA_START + plan.stubs.len() as u64 <= stubs_len);
    assert_eq!(plan.header.patches as usize, plan.patches.len());
    assert_eq!(plan.header.stub_bytes as usize, plan.stubs.len());
    let patched = patched(text, text_addr, plan);
    let memory = Memory { text, text_addr, stubs_addr, stubs: &plan.stubs, patched };

    // Where short jumps go to. A padding's jump is made before the short one to it.
    let short = plan.patches.windows(2).filter(|pair| pair[1].bytes[0] == JMP_REL8);
    let trampolines: HashSet<u64> = short.map(|pair| pair[0].addr).collect();
    let mut coverage = Coverage { skipped: plan.header.skipped, ..Coverage::default() };
    // From start to end.
    let mut stubs = BTreeMap::new();
    for patch in &plan.patches {
        if !trampolines.contains(&patch.addr) {
            let (start, end) = check_patch(&memory, patch, &trampolines, &mut coverage);
            stubs.insert(start, end);
        }
    }
    let mut next = stubs_addr + STUB_AREA_START;
    for (start, end) in stubs {
        assert_eq!(start, next, "bytes between stubs, or a stub used twice");
        next = end;
    }
    assert_eq!(next, stubs_addr + STUB_AREA_START + plan.stubs.len() as u64);
    let Coverage { before_one, before_several, padding, after, skipped } = coverage;
    assert_eq!(plan.header.sites, before_one + before_several + padding + after + skipped);
    coverage
}

/// The text with all changes made.
fn patched(text: &[u8], text_addr: u64, plan: &Plan) -> Vec<u8> {
    let mut patched = text.to_vec();
    let mut changed = vec![false; text.len()];
    for patch in &plan.patches {
        let (start, len) = ((patch.addr - text_addr) as usize, patch.len as usize);
        assert!((2..=PATCH_BYTES).contains(&len) && patch.pad == 0);
        assert!(patch.bytes[len..].iter().all(|&byte| byte == 0));
        assert!(!changed[start..start + len].contains(&true), "patches overlap");
        changed[start..start + len].fill(true);
        patched[start..start + len].copy_from_slice(&patch.bytes[..len]);
    }
    patched
}

/// Checks a patch that is no trampoline, and counts it. Returns the start and the end of its stub.
fn check_patch(
    memory: &Memory<'_>,
    patch: &Patch,
    trampolines: &HashSet<u64>,
    coverage: &mut Coverage,
) -> (u64, u64) {
    let (original, jump) = (memory.original(patch.addr), memory.patched(patch.addr));
    let fill = &patch.bytes[jump.len()..patch.len as usize];
    assert!(fill.iter().all(|&byte| byte == INT3), "filled with something else");
    if jump.code() == Code::Jmp_rel8_64 {
        coverage.padding += 1;
        assert_eq!((original.code(), original.len()), (Code::Syscall, patch.len as usize));
        let trampoline = memory.patched(jump.near_branch_target());
        assert!(trampolines.contains(&trampoline.ip()));
        assert_eq!(trampoline.code(), Code::Jmp_rel32_64);
        let stub = trampoline.near_branch_target();
        return (stub, check_call(memory, stub, original.next_ip()));
    }
    assert_eq!(jump.code(), Code::Jmp_rel32_64);
    let stub = jump.near_branch_target();
    if original.code() == Code::Syscall {
        coverage.after += 1;
        return (stub, check_after(memory, patch.addr, patch.len, stub));
    }
    if original.len() == patch.len as usize {
        coverage.before_one += 1;
    } else {
        coverage.before_several += 1;
    }
    (stub, check_before(memory, patch.addr, patch.len, stub))
}

/// `lea rcx, [resume]; jmp [slot]` at `addr`; returns its end.
fn check_call(memory: &Memory<'_>, addr: u64, resume: u64) -> u64 {
    let lea = memory.stub(addr);
    assert_eq!((lea.code(), lea.op0_register()), (Code::Lea_r64_m, Register::RCX));
    assert_eq!(lea.memory_base(), Register::RIP);
    assert_eq!(lea.memory_displacement64(), resume);
    let jmp = memory.stub(lea.next_ip());
    assert_eq!((jmp.code(), jmp.memory_base()), (Code::Jmp_rm64, Register::RIP));
    assert_eq!(jmp.memory_displacement64(), memory.stubs_addr);
    jmp.next_ip()
}

/// The stub of a hole before a site: all instructions up to it, then the call. Everything behind the hole is as it was.
fn check_before(memory: &Memory<'_>, hole: u64, len: u32, stub: u64) -> u64 {
    let (mut from, mut to) = (hole, stub);
    loop {
        let original = memory.original(from);
        if original.code() == Code::Syscall {
            assert!(from >= hole + u64::from(len));
            return check_call(memory, to, original.next_ip());
        }
        assert_eq!(original.flow_control(), FlowControl::Next);
        if from >= hole + u64::from(len) {
            assert_eq!(memory.patched(from), original, "changed behind the hole");
        }
        to = check_same(memory, &original, to);
        from = original.next_ip();
    }
}

/// The stub of a hole from a site on: the call, what is behind the site, and the way back.
fn check_after(memory: &Memory<'_>, site: u64, len: u32, stub: u64) -> u64 {
    let call_end = memory.stub(memory.stub(stub).next_ip()).next_ip();
    let mut to = check_call(memory, stub, call_end);
    let mut from = memory.original(site).next_ip();
    let mut falls_through = true;
    while from < site + u64::from(len) {
        assert!(falls_through, "moved what is not reached");
        let original = memory.original(from);
        to = check_same(memory, &original, to);
        from = original.next_ip();
        falls_through = !matches!(
            original.flow_control(),
            FlowControl::Return
                | FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Exception
        ) && original.code() != Code::Hlt;
    }
    assert_eq!(from, site + u64::from(len), "a torn instruction");
    if falls_through {
        let back = memory.stub(to);
        assert_eq!((back.code(), back.near_branch_target()), (Code::Jmp_rel32_64, from));
        to = back.next_ip();
    }
    to
}

/// What lies at `addr` does what `original` did; returns its end.
fn check_same(memory: &Memory<'_>, original: &Instruction, addr: u64) -> u64 {
    let moved = memory.stub(addr);
    assert_eq!(moved.mnemonic(), original.mnemonic());
    if original.op0_kind() == OpKind::NearBranch64 {
        return check_same_branch(memory, original, &moved);
    }
    // With the same opcode and operands, and RIP-relative ones as absolute addresses, all that may differ is length.
    let mut expected = *original;
    expected.set_len(moved.len());
    expected.set_next_ip(moved.next_ip());
    expected.set_memory_displ_size(moved.memory_displ_size());
    assert_eq!(moved, expected);
    moved.next_ip()
}

/// A branch goes to the same place, if need be (`loop`, `jrcxz`) by way of two jumps behind it.
fn check_same_branch(memory: &Memory<'_>, original: &Instruction, moved: &Instruction) -> u64 {
    let target = original.near_branch_target();
    if moved.near_branch_target() == target {
        return moved.next_ip();
    }
    let over = memory.stub(moved.next_ip());
    let far = memory.stub(over.next_ip());
    assert_eq!(moved.near_branch_target(), far.ip());
    assert_eq!(over.near_branch_target(), far.next_ip());
    assert_eq!(far.near_branch_target(), target);
    assert!([over, far].iter().all(|jump| jump.mnemonic() == Mnemonic::Jmp));
    far.next_ip()
}
