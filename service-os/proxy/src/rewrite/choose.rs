//! Choosing a patch for each site.
//!
//! Best first, where *hole* means the bytes that a jump replaces:
//!
//! 1. **Before.** The nearest instruction of five bytes or more before the `syscall`, in the same basic block: mostly
//!    the `mov eax, imm32` that loads the call's number. The hole is that one instruction. All from there to the
//!    `syscall` is done by the stub, but stays in place, `syscall` included, for whoever jumps there. Nobody can
//!    jump into the hole, whatever the program's jump tables hold.
//! 2. **Padding.** The two bytes of the `syscall` become a short jump to dead padding, where a `jmp rel32` fits.
//!    Nobody can jump into that hole either.
//! 3. **Before, several**, and **after**: a hole of more than one instruction, before the `syscall` or from it on. An
//!    instruction in the hole must be no target, and that can be known only in functions that
//!    [`super::function`] has seen all of.
//! 4. **Before**, with targets behind the hole: control that comes in there keeps the slow way.
//!
//! What is left of a hole behind the jump becomes `int3`. Nothing gets there; if something did, it should
//! trap, rather than go on with half of the instructions done.

use std::ops::Range;

use iced_x86::{Code, FlowControl};
use margay_abi::rewrite::{PATCH_BYTES, Patch};

use super::function::has_only_seen_targets;
use super::offsets::OffsetSet;
use super::stub::{JMP_REL32_LEN, Stub, StubArea, jump};
use super::sweep::{Sweep, Text};
use super::vicinity::{Placed, Vicinity};

/// How many instructions a stub takes over at most: six arguments and the number, some in two steps.
const MAX_MOVED: usize = 16;
/// `jmp rel8`.
const JMP_REL8: u8 = 0xeb;
/// Bytes of a `jmp rel8`.
const JMP_REL8_LEN: usize = 2;
/// Fills holes.
const INT3: u8 = 0xcc;
/// `mov rax, 15`, as in every signal trampoline. Unwinders (libgcc's, gdb's) recognise one by these bytes and
/// the `syscall` behind, so it stays.
const MOV_RAX_SIGRETURN: [u8; 7] = [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0];
/// Functions are aligned to this. Padding that starts so may be a function that starts with `nop`s for a tracer.
const FUNCTION_ALIGN: u64 = 16;
/// What padding pads to, at the least.
const PADDING_ALIGN: u64 = 8;

/// A patch that could be made: a stub, and the changes that lead to it.
#[derive(Debug)]
struct Draft {
    stub: Stub,
    /// Offset and new bytes. The order is one in which they can be applied while the program runs.
    changes: Vec<(usize, Vec<u8>)>,
}

/// What a hole before the `syscall` must be like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Before {
    /// One instruction, and all known ways to the `syscall` go through it.
    One,
    /// As many instructions as it takes, and all known ways go through the first.
    Several,
    /// One instruction, and some ways may come in behind it.
    OneBypassed,
}

/// Patches chosen so far.
#[derive(Debug)]
pub struct Chooser<'a> {
    text: Text<'a>,
    sweep: &'a Sweep,
    /// Bytes that patches change.
    taken: OffsetSet,
    area: StubArea,
    patches: Vec<Patch>,
}

impl<'a> Chooser<'a> {
    /// A chooser for a text that puts its stubs into `area`.
    pub fn new(text: Text<'a>, sweep: &'a Sweep, area: StubArea) -> Self {
        Self { text, sweep, taken: OffsetSet::new(text.bytes.len()), area, patches: Vec::new() }
    }

    /// Makes a patch for the site at offset `site`. `None` if it must stay as it is.
    pub fn patch(&mut self, site: usize) -> Option<()> {
        if self.text.bytes[..site].ends_with(&MOV_RAX_SIGRETURN) {
            return None;
        }
        let vicinity = Vicinity::of(self.text, self.sweep, site);
        if !vicinity.is_code(self.text, self.sweep) {
            return None;
        }
        let draft = self
            .before(&vicinity, Before::One)
            .or_else(|| self.padding(&vicinity))
            .or_else(|| self.several(&vicinity))
            .or_else(|| self.before(&vicinity, Before::OneBypassed))?;
        self.area.keep(&draft.stub)?;
        for (offset, bytes) in draft.changes {
            self.change(offset, &bytes);
        }
        Some(())
    }

    /// The patches, and the bytes of the stubs.
    pub fn finish(self) -> (Vec<Patch>, Vec<u8>) {
        (self.patches, self.area.into_bytes())
    }

    fn change(&mut self, offset: usize, new: &[u8]) {
        self.taken.insert_all(offset..offset + new.len());
        let mut bytes = [0; PATCH_BYTES];
        bytes[..new.len()].copy_from_slice(new);
        let (addr, len) = (self.text.addr_of(offset), new.len() as u32);
        self.patches.push(Patch { addr, len, pad: 0, bytes });
    }

    /// Holes of more than one instruction.
    fn several(&self, vicinity: &Vicinity) -> Option<Draft> {
        if !has_only_seen_targets(self.text, self.sweep, vicinity.site().offset) {
            return None;
        }
        self.before(vicinity, Before::Several).or_else(|| self.after(vicinity))
    }

    /// A hole before the `syscall`.
    fn before(&self, vicinity: &Vicinity, how: Before) -> Option<Draft> {
        let site = vicinity.site();
        let is_bypass = |offset| how != Before::OneBypassed && self.sweep.targets.contains(offset);
        if is_bypass(site.offset) {
            return None;
        }
        // From the hole to the site, last instruction first.
        let mut moved: Vec<Placed> = Vec::new();
        for placed in vicinity.before().take(MAX_MOVED) {
            if !is_straight(&placed) {
                return None;
            }
            moved.push(placed);
            let hole = match how {
                Before::One | Before::OneBypassed => Some(placed.range()),
                Before::Several => hole_from(moved.iter().rev().copied()),
            };
            if let Some(hole) = hole.filter(|hole| self.is_free(hole)) {
                let mut stub = self.area.begin();
                self.push_moved(&mut stub, moved.into_iter().rev())?;
                stub.push_call(self.text.addr_of(site.end()));
                return Some(self.draft(hole, stub));
            }
            if is_bypass(placed.offset) {
                return None;
            }
        }
        None
    }

    /// The hole in dead padding nearest to the site, and a short jump there in place of the `syscall`.
    fn padding(&self, vicinity: &Vicinity) -> Option<Draft> {
        let site = vicinity.site();
        if self.sweep.data.meets(site.range()) || self.taken.meets(site.range()) {
            return None;
        }
        let from = site.offset + JMP_REL8_LEN;
        let distance = |hole: &Range<usize>| i8::try_from(hole.start as i64 - from as i64).ok();
        let (hole, distance) = vicinity
            .dead_padding()
            .filter_map(|run| self.hole_in_padding(run))
            .filter_map(|hole| distance(&hole).map(|distance| (hole, distance)))
            .min_by_key(|(_, distance)| distance.unsigned_abs())?;
        let mut stub = self.area.begin();
        stub.push_call(self.text.addr_of(site.end()));
        let mut draft = self.draft(hole, stub);
        let mut short = vec![JMP_REL8, distance.cast_unsigned()];
        short.resize(site.instr.len(), INT3);
        draft.changes.push((site.offset, short));
        Some(draft)
    }

    /// Room for a jump in a run of padding, if that is what it is.
    fn hole_in_padding(&self, run: Range<usize>) -> Option<Range<usize>> {
        let (start, end) = (self.text.addr_of(run.start), self.text.addr_of(run.end));
        let pads = !start.is_multiple_of(FUNCTION_ALIGN) && end.is_multiple_of(PADDING_ALIGN);
        if !pads || self.sweep.targets.meets(run.clone()) {
            return None;
        }
        (run.start..run.end)
            .map(|start| start..start + JMP_REL32_LEN)
            .find(|hole| hole.end <= run.end && self.is_free(hole))
    }

    /// A hole from the `syscall` on.
    fn after(&self, vicinity: &Vicinity) -> Option<Draft> {
        let site = vicinity.site();
        let mut moved = vec![site];
        for placed in vicinity.after() {
            moved.push(placed);
            if let Some(hole) = hole_from(moved.iter().copied()) {
                if !self.is_free(&hole) {
                    return None;
                }
                let mut stub = self.area.begin();
                stub.push_call_here();
                self.push_moved(&mut stub, moved.into_iter().skip(1))?;
                if placed.falls_through() {
                    stub.push_jump(self.text.addr_of(hole.end));
                }
                return Some(self.draft(hole, stub));
            }
            if !placed.falls_through() {
                return None;
            }
        }
        None
    }

    /// Can these bytes go? Nothing comes in behind the first, nothing reads them, and no other patch has them.
    fn is_free(&self, hole: &Range<usize>) -> bool {
        hole.len() >= JMP_REL32_LEN
            && !self.sweep.targets.meets(hole.start + 1..hole.end)
            && !self.sweep.data.meets(hole.clone())
            && !self.taken.meets(hole.clone())
    }

    /// Adds moved instructions to a stub.
    fn push_moved(&self, stub: &mut Stub, moved: impl Iterator<Item = Placed>) -> Option<()> {
        for placed in moved {
            stub.push_moved(&placed.instr, &self.text.bytes[placed.range()])?;
        }
        Some(())
    }

    /// A jump to a stub in place of what is in a hole.
    fn draft(&self, hole: Range<usize>, stub: Stub) -> Draft {
        let mut bytes = jump(self.text.addr_of(hole.start), stub.addr()).to_vec();
        bytes.resize(hole.len(), INT3);
        Draft { stub, changes: vec![(hole.start, bytes)] }
    }
}

/// The hole that the first few of these instructions make, if they are long enough together.
fn hole_from(mut instrs: impl Iterator<Item = Placed>) -> Option<Range<usize>> {
    let first = instrs.next()?;
    let start = first.offset;
    let last = std::iter::once(first)
        .chain(instrs)
        .find(|placed| placed.end() - start >= JMP_REL32_LEN)?;
    Some(start..last.end())
}

/// Can a stub do this instruction on the way to a `syscall`? Not a landing place of indirect branches, which must stay
/// one, and not padding: behind it begins something else.
fn is_straight(placed: &Placed) -> bool {
    placed.instr.flow_control() == FlowControl::Next
        && placed.falls_through()
        && !placed.is_padding()
        && placed.instr.code() != Code::Endbr64
}
