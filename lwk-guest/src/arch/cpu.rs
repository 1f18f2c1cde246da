//! Single instructions.

use core::arch::asm;

use margay_abi::hypercall::Hypercall;

/// Reads the time-stamp counter, in cycles. Not ordered with the instructions around it.
pub fn read_tsc() -> u64 {
    // SAFETY: `rdtsc` reads a counter.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Leaves the guest for a hypercall. All memory the LWK wrote before is visible to the VMM.
pub fn hypercall(call: Hypercall, value: u32) {
    // SAFETY: the port is one of ours, so only the VMM sees the write; the default memory clobber keeps accesses before it.
    unsafe {
        asm!("out dx, eax", in("dx") call.port(), in("eax") value, options(nostack, preserves_flags))
    };
}

/// Reads the base of FS, the program's thread pointer.
pub fn read_fs_base() -> u64 {
    let base;
    // SAFETY: CR4.FSGSBASE is set at boot.
    unsafe { asm!("rdfsbase {}", out(reg) base, options(nomem, nostack, preserves_flags)) };
    base
}

/// Sets the base of FS, which the LWK itself does not use. `base` is canonical.
pub fn write_fs_base(base: u64) {
    // SAFETY: CR4.FSGSBASE is set at boot; only the program uses FS.
    unsafe { asm!("wrfsbase {}", in(reg) base, options(nomem, nostack, preserves_flags)) };
}

/// Sets the program's GS base, in protected mode: it waits in the other half of `swapgs` while the LWK runs. `base` is
/// canonical.
pub fn write_user_gs_base(base: u64) {
    // SAFETY: at CPL 0 with interrupts off; the two `swapgs` bring the LWK's own base back.
    unsafe {
        asm!("swapgs", "wrgsbase {}", "swapgs", in(reg) base, options(nostack, preserves_flags))
    };
}

/// Reads the program's GS base, in protected mode.
pub fn read_user_gs_base() -> u64 {
    let base;
    // SAFETY: as in `write_user_gs_base`.
    unsafe {
        asm!("swapgs", "rdgsbase {}", "swapgs", out(reg) base, options(nostack, preserves_flags))
    };
    base
}

/// `cpuid`. Exits on virtual hardware: not for hot paths.
pub fn cpuid(leaf: u32) -> core::arch::x86_64::CpuidResult {
    core::arch::x86_64::__cpuid(leaf)
}

/// Zeroes `bytes` of memory at `addr`.
///
/// # Safety
/// The memory is writable and nobody else uses it.
pub unsafe fn zero(addr: u64, bytes: u64) {
    // SAFETY: the caller owns the memory. `rep stosb` uses no vector register, and is the fast way on all CPUs that matter.
    unsafe {
        asm!("rep stosb", inout("rdi") addr => _, inout("rcx") bytes => _, in("al") 0_u8,
            options(nostack, preserves_flags));
    }
}
