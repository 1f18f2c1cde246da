//! Stubs: the code that patched sites jump to, and the area it lies in.
//!
//! A stub holds moved instructions and one *call* of the gate:
//!
//! ```text
//!     lea rcx, [rip + resume]       ; 48 8d 0d rel32
//!     jmp [rip + slot]              ; ff 25 rel32, the slot at the start of the area holds the gate's address
//! ```
//!
//! It changes no flags, no memory and no register but RCX, which `syscall` changes as well, and that only after the
//! moved instructions before it: those may still read the old RCX.
//!
//! Displacements always fit, because [`super::plan`] refuses a text and a stub area that are not within 2 GiB together,
//! and [`super::relocate`] checks all other addresses.

use iced_x86::Instruction;
use margay_abi::rewrite::STUB_AREA_START;

use super::relocate::relocated;

/// `jmp rel32`.
const JMP_REL32: u8 = 0xe9;
/// Bytes of a `jmp rel32`: the smallest hole that a site must have.
pub const JMP_REL32_LEN: usize = 5;
/// `lea rcx, [rip + rel32]`.
const LEA_RCX_RIP: [u8; 3] = [0x48, 0x8d, 0x0d];
/// `jmp [rip + rel32]`.
const JMP_MEM_RIP: [u8; 2] = [0xff, 0x25];
/// Bytes of a displacement.
const REL32_LEN: usize = 4;

/// A `jmp rel32` that lies at `at` and goes to `to`, both within 2 GiB.
pub fn jump(at: u64, to: u64) -> [u8; JMP_REL32_LEN] {
    let [a, b, c, d] = rel32(at + JMP_REL32_LEN as u64, to);
    [JMP_REL32, a, b, c, d]
}

/// The displacement from the end of an instruction to an address.
fn rel32(end: u64, to: u64) -> [u8; REL32_LEN] {
    (to.wrapping_sub(end) as u32).to_le_bytes()
}

/// A stub being written.
#[derive(Debug)]
pub struct Stub {
    addr: u64,
    slot: u64,
    bytes: Vec<u8>,
}

impl Stub {
    /// Address of its first byte.
    pub fn addr(&self) -> u64 {
        self.addr
    }

    /// Address of the next byte to be written.
    fn end(&self) -> u64 {
        self.addr + self.bytes.len() as u64
    }

    /// Adds a moved instruction, whose original bytes are `original`. `None` if it cannot be moved here.
    pub fn push_moved(&mut self, instr: &Instruction, original: &[u8]) -> Option<()> {
        let bytes = relocated(instr, original, self.end())?;
        self.bytes.extend_from_slice(&bytes);
        Some(())
    }

    /// Adds a call of the gate that comes back at `resume`.
    pub fn push_call(&mut self, resume: u64) {
        let lea_end = self.end() + (LEA_RCX_RIP.len() + REL32_LEN) as u64;
        self.bytes.extend_from_slice(&LEA_RCX_RIP);
        self.bytes.extend_from_slice(&rel32(lea_end, resume));
        let jmp_end = self.end() + (JMP_MEM_RIP.len() + REL32_LEN) as u64;
        self.bytes.extend_from_slice(&JMP_MEM_RIP);
        self.bytes.extend_from_slice(&rel32(jmp_end, self.slot));
    }

    /// Adds a call of the gate that comes back right behind it.
    pub fn push_call_here(&mut self) {
        let len = LEA_RCX_RIP.len() + JMP_MEM_RIP.len() + 2 * REL32_LEN;
        self.push_call(self.end() + len as u64);
    }

    /// Adds a jump to an address of the text.
    pub fn push_jump(&mut self, to: u64) {
        self.bytes.extend_from_slice(&jump(self.end(), to));
    }
}

/// The stub area: the gate's slot, then the stubs, one behind the other.
#[derive(Debug)]
pub struct StubArea {
    addr: u64,
    capacity: usize,
    bytes: Vec<u8>,
}

impl StubArea {
    /// An area of `len` bytes at `addr`, with no stub in it yet.
    pub fn new(addr: u64, len: u64) -> Self {
        let capacity = usize::try_from(len.saturating_sub(STUB_AREA_START)).unwrap_or(usize::MAX);
        Self { addr, capacity, bytes: Vec::new() }
    }

    /// Begins the stub that would come next.
    pub fn begin(&self) -> Stub {
        let addr = self.addr + STUB_AREA_START + self.bytes.len() as u64;
        Stub { addr, slot: self.addr, bytes: Vec::new() }
    }

    /// Keeps a stub, begun since the last one was kept. `None` if there is no room for it.
    pub fn keep(&mut self, stub: &Stub) -> Option<()> {
        if stub.bytes.len() > self.capacity - self.bytes.len() {
            return None;
        }
        self.bytes.extend_from_slice(&stub.bytes);
        Some(())
    }

    /// The bytes of all stubs.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
