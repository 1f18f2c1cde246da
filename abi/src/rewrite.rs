//! The rewriting of `syscall` sites in *fused* mode: what the LWK asks of the proxy's disassembler and gets back.
//!
//! A request [`crate::calls::private::PLAN_REWRITE`] has the arguments `text`, `text_len` (executable memory to look through),
//! `stubs`, `stubs_len` (where the stubs will lie, at most 1 GiB away from the text), `plan`, `plan_len` (memory
//! that the proxy may write the plan into). It returns the bytes of the plan, or `-errno`. A plan is a [`PlanHeader`],
//! then its [`Patch`]es, then the bytes of the stubs, to be copied to `stubs + STUB_AREA_START`. The first eight bytes of the
//! stub area hold the address of the LWK's call gate, written by the LWK; every stub jumps through them.
//!
//! A stub does what the instructions it replaces did, loads RCX with the address to go on at, and jumps to the gate: the same
//! convention as `syscall` itself (RCX return address, R11 clobbered), writing no stack: there may be live data in the
//! red zone.

/// Offset of the first stub in the stub area; before it lies the gate's address.
pub const STUB_AREA_START: u64 = 16;

/// The longest patch: instructions that a site gives up, at most this many bytes.
pub const PATCH_BYTES: usize = 32;

/// Head of a plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PlanHeader {
    /// Number of patches.
    pub patches: u32,
    /// Bytes of stubs.
    pub stub_bytes: u32,
    /// `syscall` instructions found.
    pub sites: u32,
    /// Sites that no safe patch was found for; they go on working through the slow entry.
    pub skipped: u32,
}

/// One change of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Patch {
    /// Where to write.
    pub addr: u64,
    /// How many bytes.
    pub len: u32,
    /// Zero.
    pub pad: u32,
    /// The new bytes.
    pub bytes: [u8; PATCH_BYTES],
}

const _: () =
    assert!(core::mem::size_of::<PlanHeader>() == 16 && core::mem::size_of::<Patch>() == 48);
