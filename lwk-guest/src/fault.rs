//! Exceptions: a copy that met a bad address, the program's end by a signal, or the LWK's own bug.

use margay_abi::boot::Isolation;
use margay_abi::layout;
use margay_abi::status::Fault;

use crate::arch::trap::TrapFrame;
use crate::arch::{privilege, usercopy};
use crate::kernel::try_kernel;
use crate::report;
use crate::syscall::signal::{self, Signal};

/// Page-fault vector (SDM vol 3 6.15).
const PAGE_FAULT: u64 = 14;

/// Handles an exception, at the LWK's privilege level. Returns to go on at `frame.rip`.
pub extern "C" fn handle(frame: &mut TrapFrame) {
    if let Some(rip) = usercopy::resume_at(frame.rip) {
        frame.rip = rip;
        return;
    }
    let address = if frame.vector == PAGE_FAULT { privilege::fault_address() } else { 0 };
    match try_kernel() {
        Some(kernel) if in_program(kernel.isolation, frame) => {
            let signal = signal_of(frame.vector);
            report::note_fault(Fault::Program, signal.0, frame, address);
            signal::end_program(kernel, signal)
        }
        _ => {
            report::note_fault(Fault::Kernel, 0, frame, address);
            panic!(
                "exception {} in the LWK at {:#x}, address {address:#x}",
                frame.vector, frame.rip
            )
        }
    }
}

/// Whether the exception is the program's: by privilege where the LWK has its own, else by address.
fn in_program(isolation: Isolation, frame: &TrapFrame) -> bool {
    match isolation {
        Isolation::Protected => frame.cs & 3 == 3,
        Isolation::Fused => frame.cs & 3 == 3 && frame.rip < layout::USER_END,
    }
}

/// The signal that Linux sends for an exception vector (`arch/x86/kernel/traps.c` has the same pairs).
fn signal_of(vector: u64) -> Signal {
    match vector {
        0 | 16 | 19 => Signal::FPE,
        1 | 3 => Signal::TRAP,
        6 => Signal::ILL,
        11 | 12 | 17 => Signal::BUS,
        _ => Signal::SEGV,
    }
}
