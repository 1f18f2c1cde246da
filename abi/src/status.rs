//! The status page: what the LWK tells the VMM about itself, for reports. Written only by the LWK; the VMM believes
//! nothing in it beyond printing it.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Entries of the ring of last calls.
pub const LAST_CALLS: usize = 16;
/// Bytes of the log buffer.
pub const LOG_BYTES: usize = 1024;

/// What ended the program or the LWK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Fault {
    /// Nothing yet.
    None = 0,
    /// The program died by a signal; `signal` says which, the registers are the program's.
    Program = 1,
    /// The LWK panicked or faulted; the registers are the LWK's.
    Kernel = 2,
}

impl Fault {
    /// The fault of a word in the page; unknown words mean none.
    pub const fn from_u32(value: u32) -> Fault {
        match value {
            1 => Fault::Program,
            2 => Fault::Kernel,
            _ => Fault::None,
        }
    }
}

/// Registers at a fault.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Registers {
    /// rax, rbx, rcx, rdx, rsi, rdi, rbp, r8 .. r15.
    pub general: [AtomicU64; 15],
    /// Stack pointer.
    pub rsp: AtomicU64,
    /// Instruction pointer.
    pub rip: AtomicU64,
    /// Flags.
    pub rflags: AtomicU64,
    /// Code segment: its low two bits are the privilege level.
    pub cs: AtomicU64,
    /// Faulting address of a page fault.
    pub cr2: AtomicU64,
    /// The processor's error code.
    pub error: AtomicU64,
    /// Exception vector, or `u64::MAX` where it was none.
    pub vector: AtomicU64,
    /// Base of FS, the program's thread pointer.
    pub fs_base: AtomicU64,
}

/// Names of [`Registers::general`], in order.
pub const GENERAL_NAMES: [&str; 15] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// A call in the ring of last calls.
#[derive(Debug, Default)]
#[repr(C)]
pub struct LastCall {
    /// System-call number.
    pub nr: AtomicU64,
    /// First three arguments.
    pub args: [AtomicU64; 3],
    /// Return value; [`LastCall::PENDING`] while the call runs.
    pub ret: AtomicU64,
}

impl LastCall {
    /// The value of `ret` of a call that has not returned. No Linux call returns it.
    pub const PENDING: u64 = 0x8000_0000_dead_c0de;
}

/// The status page.
#[derive(Debug)]
#[repr(C)]
pub struct StatusPage {
    /// TSC when the LWK's first Rust instruction ran.
    pub tsc_kernel: AtomicU64,
    /// TSC when the LWK began to load the program.
    pub tsc_load: AtomicU64,
    /// TSC just before the program's first instruction.
    pub tsc_user: AtomicU64,
    /// Bytes of guest memory that the LWK keeps for itself: image, heap, tables, shared pages.
    pub kept_bytes: AtomicU64,
    /// Bytes of guest memory that the program uses now.
    pub used_bytes: AtomicU64,
    /// The most it ever used.
    pub peak_bytes: AtomicU64,
    /// System calls that came through the slow `syscall` entry in fused mode.
    pub escapes: AtomicU64,
    /// `syscall` sites rewritten.
    pub rewritten: AtomicU64,
    /// Times the LWK halted its core to wait for a reply.
    pub halts: AtomicU64,
    /// Signals that the program ignores, bit `n - 1` for signal `n`.
    pub ignored_signals: AtomicU64,
    /// A [`Fault`].
    pub fault: AtomicU32,
    /// The signal that ended the program, with [`Fault::Program`].
    pub signal: AtomicU32,
    /// Number of calls so far; the last is in slot `(calls - 1) % LAST_CALLS`.
    pub calls: AtomicU64,
    /// Where a static-PIE program was loaded, minus the addresses in its file; 0 for a fixed one.
    pub load_bias: AtomicU64,
    /// Registers at the fault.
    pub registers: Registers,
    /// The last calls.
    pub last_calls: [LastCall; LAST_CALLS],
    /// Bytes for [`crate::hypercall::Hypercall::Log`] and the message of a panic.
    pub log: [core::sync::atomic::AtomicU8; LOG_BYTES],
    /// Bytes of the panic's message in `log`.
    pub log_len: AtomicU64,
}
