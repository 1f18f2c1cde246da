//! The first pass: where instructions start, where control may come in from elsewhere, and where the `syscall`s are.
//!
//! A linear sweep decodes the text from its start, one instruction after the other. Compilers put (almost) no data
//! between code, and where there is some, x86 code falls back into step after a few instructions; what the sweep
//! gets wrong there, [`super::vicinity`] finds out site by site.
//!
//! A *target* is an address where control may arrive other than from the instruction before it. The sweep
//! collects all it can see, and rather too many than too few: the targets of direct branches, the addresses after
//! calls, `endbr64`s, and whatever has its address taken by a RIP-relative operand or an immediate. What it
//! cannot see are targets that only a jump table or a pointer in the data has; see [`super::function`].

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};

use super::offsets::OffsetSet;

/// The code to be looked through.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Address of the first.
    pub addr: u64,
}

impl<'a> Text<'a> {
    /// Where in the text an address is; `None` if outside.
    pub fn offset_of(&self, addr: u64) -> Option<usize> {
        let offset = usize::try_from(addr.wrapping_sub(self.addr)).ok()?;
        (offset < self.bytes.len()).then_some(offset)
    }

    /// The address of an offset, which is at most the text's length.
    pub fn addr_of(&self, offset: usize) -> u64 {
        self.addr + offset as u64
    }

    /// A decoder of the text that stands at `offset`, which is at most the text's length.
    pub fn decoder_at(&self, offset: usize) -> Decoder<'a> {
        let mut decoder = Decoder::with_ip(64, self.bytes, self.addr, DecoderOptions::NONE);
        move_decoder(&mut decoder, offset, self.addr_of(offset));
        decoder
    }
}

/// Makes a decoder go on at another place.
fn move_decoder(decoder: &mut Decoder<'_>, offset: usize, addr: u64) {
    decoder.set_position(offset).expect("callers stay inside the text");
    decoder.set_ip(addr);
}

/// What the sweep found, as offsets into the text.
#[derive(Debug)]
pub struct Sweep {
    /// Where valid instructions start.
    pub starts: OffsetSet,
    /// Targets of direct calls: entries of functions.
    pub entries: OffsetSet,
    /// Targets of direct branches, calls included.
    pub branched: OffsetSet,
    /// All targets, branched ones included.
    pub targets: OffsetSet,
    /// Bytes that the code reads or writes as data, and which must therefore not change.
    pub data: OffsetSet,
    /// The `syscall` instructions, in order.
    pub sites: Vec<usize>,
}

impl Sweep {
    /// Looks through a text.
    pub fn of(text: Text<'_>) -> Self {
        let set = || OffsetSet::new(text.bytes.len());
        let mut sweep = Self {
            starts: set(),
            entries: set(),
            branched: set(),
            targets: set(),
            data: set(),
            sites: Vec::new(),
        };
        let mut decoder = text.decoder_at(0);
        let mut instr = Instruction::default();
        while decoder.can_decode() {
            let offset = decoder.position();
            decoder.decode_out(&mut instr);
            if instr.is_invalid() {
                move_decoder(&mut decoder, offset + 1, text.addr_of(offset + 1));
                continue;
            }
            sweep.starts.insert(offset);
            sweep.note_flow(text, offset, &instr);
            sweep.note_memory(text, &instr);
            sweep.note_immediate(text, &instr);
        }
        sweep
    }

    /// Notes where control may go from an instruction, and whether it is a site.
    fn note_flow(&mut self, text: Text<'_>, offset: usize, instr: &Instruction) {
        match instr.flow_control() {
            FlowControl::Next if instr.code() == Code::Endbr64 => self.targets.insert(offset),
            FlowControl::Next | FlowControl::Return | FlowControl::Exception => {}
            FlowControl::Call if instr.code() == Code::Syscall => self.sites.push(offset),
            FlowControl::Call | FlowControl::IndirectCall => {
                self.targets.insert(offset + instr.len());
                if let Some(entry) = self.note_branch(text, instr) {
                    self.entries.insert(entry);
                }
            }
            _ => {
                self.note_branch(text, instr);
            }
        }
    }

    /// Notes the target of a direct branch, if it is one.
    fn note_branch(&mut self, text: Text<'_>, instr: &Instruction) -> Option<usize> {
        let target = text.offset_of(instr.near_branch_target())?;
        self.branched.insert(target);
        self.targets.insert(target);
        Some(target)
    }

    /// Notes an address in a memory operand: `lea`s take addresses of code, other instructions access data, and an
    /// absolute displacement may be that of a table.
    fn note_memory(&mut self, text: Text<'_>, instr: &Instruction) {
        if instr.memory_base() != Register::RIP && instr.memory_displ_size() < 4 {
            return;
        }
        let Some(start) = text.offset_of(instr.memory_displacement64()) else { return };
        if instr.mnemonic() == Mnemonic::Lea {
            self.targets.insert(start);
        } else {
            let size = instr.memory_size().size().max(1);
            self.data.insert_all(start..start + size);
        }
    }

    /// Notes an immediate that may be the address of code that is not position-independent.
    fn note_immediate(&mut self, text: Text<'_>, instr: &Instruction) {
        let kind = match instr.mnemonic() {
            Mnemonic::Mov => instr.op1_kind(),
            Mnemonic::Push => instr.op0_kind(),
            _ => return,
        };
        let addr = match kind {
            OpKind::Immediate32 => u64::from(instr.immediate32()),
            OpKind::Immediate32to64 => instr.immediate32to64() as u64,
            OpKind::Immediate64 => instr.immediate64(),
            _ => return,
        };
        if let Some(target) = text.offset_of(addr) {
            self.targets.insert(target);
        }
    }
}
