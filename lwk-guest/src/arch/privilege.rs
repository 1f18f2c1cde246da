//! The narrow layer: what needs CPL 0, in both modes.
//!
//! In protected mode the LWK is at CPL 0 and just does it. In fused mode it is at CPL 3 and asks: it executes an undefined
//! instruction at one known address, the *privilege gate*. The exception's stub tells this address from all others, does
//! the operation and returns behind it. `ud2` and not `int n`, which a pagetable-based KVM turns into an undefined
//! instruction anyway, nor `syscall`, which leaves the vCPU at CPL 3 there. One request costs about 20 us on such a host,
//! so nothing on a hot path makes one.

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use margay_abi::boot::Isolation;

/// Load CR3 with the argument, dropping all cached translations.
const LOAD_CR3: u64 = 0;
/// Sleep until the wake-up interrupt.
const HALT: u64 = 1;

/// Set by the wake-up interrupt. A core that finds it set does not halt: the interrupt came between its last look
/// at the ring and its halt.
pub static WOKEN: AtomicBool = AtomicBool::new(false);

/// CR2 at the last page fault, put here by the exception's stub at CPL 0.
pub static FAULT_ADDRESS: AtomicU64 = AtomicU64::new(0);

/// The faulting address of the last page fault.
pub fn fault_address() -> u64 {
    FAULT_ADDRESS.load(Relaxed)
}

global_asm!(
    r#"
    .section .text
    # rdi = operation, rsi = argument. Clobbers what a C call may.
    .globl privilege_request, privilege_gate, privilege_serve
privilege_request:
privilege_gate:
    ud2
    ret

    # CPL 0, interrupts off, from the stub of the undefined-instruction exception: vector, error, rip, ...
privilege_serve:
    add qword ptr [rsp + 16], 2
    cmp edi, {halt}
    je 1f
    mov cr3, rsi
    add rsp, 16
    iretq
    # `sti` holds interrupts off for one more instruction (SDM vol 2 STI), so none gets in between the look and the halt.
1:  cmp byte ptr [rip + {woken}], 0
    jne 2f
    sti
    hlt
    cli
2:  add rsp, 16
    iretq
    "#,
    halt = const HALT,
    woken = sym WOKEN,
);

unsafe extern "C" {
    fn privilege_request(operation: u64, argument: u64);
}

/// Privileged operations, as this boot's isolation mode does them.
#[derive(Clone, Copy, Debug)]
pub struct Privilege(pub Isolation);

impl Privilege {
    /// Makes `root` the page table, and drops all cached translations of the old one.
    ///
    /// # Safety
    /// `root` is the guest-physical address of a page table that maps the LWK's image and the memory in use as before.
    pub unsafe fn load_page_table(self, root: u64) {
        match self.0 {
            // SAFETY: at CPL 0; the caller vouches for the table. The default memory clobber keeps accesses in order.
            Isolation::Protected => unsafe { asm!("mov cr3, {}", in(reg) root, options(nostack)) },
            // SAFETY: the gate does the same at CPL 0 and follows the C convention.
            Isolation::Fused => unsafe { privilege_request(LOAD_CR3, root) },
        }
    }

    /// Declares that this core is about to look at its ring for the last time before [`Privilege::halt`]. An
    /// interrupt from here on ends that halt, or prevents it.
    pub fn prepare_halt(self) {
        WOKEN.store(false, Relaxed);
    }

    /// Stops the core until the wake-up interrupt, or not at all if it came since [`Privilege::prepare_halt`].
    pub fn halt(self) {
        match self.0 {
            Isolation::Protected => {
                if !WOKEN.load(Relaxed) {
                    // SAFETY: at CPL 0 with an IDT; interrupts are off before and after. One that came since
                    // `prepare_halt` is still pending, since the LWK runs with interrupts off, and ends the halt.
                    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
                }
            }
            // SAFETY: the gate follows the C convention; halting has no other effect.
            Isolation::Fused => unsafe { privilege_request(HALT, 0) },
        }
    }
}
