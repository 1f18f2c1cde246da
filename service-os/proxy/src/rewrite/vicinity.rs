//! The second pass: the instructions around one site, decoded once more, and whether they can be believed.
//!
//! The linear sweep believes that everything executable is code. A constant in the middle of the text may hold the
//! bytes of a `syscall`, and to change it would corrupt the program. So a site counts only if what lies around it looks
//! like code in every respect.

use std::ops::Range;

use iced_x86::{Code, FlowControl, Instruction, Mnemonic};

use super::sweep::{Sweep, Text};

/// How far on each side of a site instructions are decoded, in bytes: what a short jump reaches (128), some padding,
/// and the instruction before it.
const REACH: usize = 192;
/// How many bytes before a site must look like code.
const BELIEF_BEFORE: usize = 64;
/// How many bytes after a site must look like code.
const BELIEF_AFTER: usize = 32;
/// The `lock` prefix. Some code jumps over it, to do without it while there is one thread (glibc's locks).
const LOCK_PREFIX: u8 = 0xf0;
/// `int 3` in two bytes is Go's way to say that code is not reached.
const BREAKPOINT_VECTOR: u8 = 3;

/// An instruction and where it is.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    /// Offset into the text.
    pub offset: usize,
    /// The instruction; its address is the original one.
    pub instr: Instruction,
}

impl Placed {
    /// Offset of the byte after it.
    pub fn end(&self) -> usize {
        self.offset + self.instr.len()
    }

    /// The bytes it takes.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.end()
    }

    /// Can control go on to the instruction behind it?
    pub fn falls_through(&self) -> bool {
        let ends = matches!(
            self.instr.flow_control(),
            FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Return
                | FlowControl::Exception
        );
        !ends && self.instr.code() != Code::Hlt
    }

    /// Is it one of those that assemblers and linkers fill gaps with?
    pub fn is_padding(&self) -> bool {
        matches!(self.instr.mnemonic(), Mnemonic::Nop | Mnemonic::Int3)
    }
}

/// The instructions around a site, without gaps.
#[derive(Debug)]
pub struct Vicinity {
    placed: Vec<Placed>,
    site: usize,
}

impl Vicinity {
    /// Decodes what lies around the site at offset `site`, which the sweep found.
    pub fn of(text: Text<'_>, sweep: &Sweep, site: usize) -> Self {
        let mut offset = site.saturating_sub(REACH);
        let end = (site + REACH).min(text.bytes.len());
        let mut placed: Vec<Placed> = Vec::with_capacity(REACH);
        let mut decoder = text.decoder_at(offset);
        while offset < end {
            if sweep.starts.contains(offset) {
                let instr = decoder.decode();
                placed.push(Placed { offset, instr });
                offset += instr.len();
                continue;
            }
            if offset > site {
                break;
            }
            placed.clear();
            offset += 1;
            decoder = text.decoder_at(offset);
        }
        let site = placed.partition_point(|placed| placed.offset < site);
        Self { placed, site }
    }

    /// The `syscall` itself.
    pub fn site(&self) -> Placed {
        self.placed[self.site]
    }

    /// The instructions before the site, nearest first.
    pub fn before(&self) -> impl Iterator<Item = Placed> {
        self.placed[..self.site].iter().rev().copied()
    }

    /// The instructions after the site, nearest first.
    pub fn after(&self) -> impl Iterator<Item = Placed> {
        self.placed[self.site + 1..].iter().copied()
    }

    /// The runs of padding that control does not fall into, in order.
    pub fn dead_padding(&self) -> impl Iterator<Item = Range<usize>> {
        (1..self.placed.len()).filter_map(|first| {
            let begins = !self.placed[first - 1].falls_through() && self.placed[first].is_padding();
            let run = self.placed[first..].iter().take_while(|placed| placed.is_padding());
            let end = run.last()?.end();
            begins.then_some(self.placed[first].offset..end)
        })
    }

    /// Does it look like code around the site? Every byte belongs to an instruction that programs use, and no
    /// branch goes into the middle of one.
    pub fn is_code(&self, text: Text<'_>, sweep: &Sweep) -> bool {
        let site = self.site().offset;
        let first = site.saturating_sub(BELIEF_BEFORE);
        let last = (site + BELIEF_AFTER).min(text.bytes.len());
        let from = self.placed.partition_point(|placed| placed.end() <= first);
        let upto = self.placed.partition_point(|placed| placed.offset < last);
        let near = &self.placed[from..upto];
        near.first().is_some_and(|placed| placed.offset <= first)
            && near.last().is_some_and(|placed| placed.end() >= last)
            && near.iter().all(|placed| is_plausible(text, sweep, placed))
    }
}

/// Could a compiler have made this instruction, as far as can be seen from it and the branches?
fn is_plausible(text: Text<'_>, sweep: &Sweep, placed: &Placed) -> bool {
    let instr = &placed.instr;
    let traps = match instr.code() {
        Code::Hlt => false,
        Code::Int_imm8 => instr.immediate8() != BREAKPOINT_VECTOR,
        _ => instr.is_privileged(),
    };
    let inside = if text.bytes[placed.offset] == LOCK_PREFIX { 2 } else { 1 };
    !traps && !sweep.branched.meets(placed.offset + inside..placed.end())
}
