//! Moving one instruction to another address.
//!
//! Most instructions do the same wherever they lie, and their bytes are copied as they are. A RIP-relative operand and
//! a direct branch are encoded anew, for the same address as before. What cannot be moved: calls, whose return
//! address would be another, and everything that enters a kernel or a transaction.

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, FlowControl, Instruction, InstructionBlock, OpKind, Register,
};

/// The farthest that a moved instruction may reach, in bytes: 2 GiB, less what the encoder may put between the
/// instruction's start and the end of its displacement.
const MAX_REACH: u64 = i32::MAX as u64 - 64;

/// The bytes of an instruction that does at `addr` what `instr`, encoded as `original`, does where it is.
/// `None` if there is none.
pub fn relocated(instr: &Instruction, original: &[u8], addr: u64) -> Option<Vec<u8>> {
    match instr.flow_control() {
        FlowControl::Next | FlowControl::Return | FlowControl::IndirectBranch => {}
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
            let near = instr.op0_kind() == OpKind::NearBranch64;
            return near.then(|| encoded(instr, instr.near_branch_target(), addr)).flatten();
        }
        _ => return None,
    }
    match instr.memory_base() {
        Register::RIP => encoded(instr, instr.memory_displacement64(), addr),
        Register::EIP => None,
        _ => Some(original.to_vec()),
    }
}

/// Encodes an instruction that names the address `named`. One that names itself is refused: the encoder would take
/// that for its new place.
fn encoded(instr: &Instruction, named: u64, addr: u64) -> Option<Vec<u8>> {
    if named == instr.ip() || named.abs_diff(addr) > MAX_REACH {
        return None;
    }
    let instrs = [*instr];
    let block = InstructionBlock::new(&instrs, addr);
    let result = BlockEncoder::encode(64, block, BlockEncoderOptions::NONE).ok()?;
    Some(result.code_buffer)
}
