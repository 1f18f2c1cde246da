//! The call gate: how a system call enters the LWK, and the program is entered.
//!
//! The convention is that of `syscall`, whichever way in: RAX = number, arguments in RDI, RSI, RDX, R10, R8, R9, RCX =
//! where to go on, R11 lost. All other registers, the vector state and the arithmetic flags are as before when
//! the call returns (compilers rely on the flags: `preserves_flags`). The gate writes nothing to the program's stack, whose
//! red zone may hold live data, and the LWK is built without vector instructions, so it saves no vector state.
//!
//! - `syscall_protected`: LSTAR in protected mode, at CPL 0.
//! - `gate_fused`: where the stubs of rewritten sites jump to, at CPL 3.
//! - `syscall_fused`: LSTAR in fused mode, for the sites that are not rewritten. A true KVM enters it at CPL 0, and it goes on
//!   at CPL 3 by `sysret`; a pagetable-based one leaves the vCPU at CPL 3, and it just goes on.
//!
//! Flags travel as AH = SF ZF AF PF CF (as `lahf` gives them), AL = OF: a `popf` would cost more than the rest of the gate.

use core::arch::{asm, global_asm};
use core::mem::offset_of;

use margay_abi::boot::Isolation;

use super::boot::FUSED_FLAGS;
use super::segments::PerCpu;

/// A system call, as the gate hands it over. The order is that of the gate's pushes, last first.
#[derive(Debug)]
#[repr(C)]
pub struct CallFrame {
    r9: u64,
    r8: u64,
    r10: u64,
    rdx: u64,
    rsi: u64,
    rdi: u64,
    /// Call number.
    pub nr: u64,
    flags: u64,
    /// Where the program goes on.
    pub rip: u64,
}

impl CallFrame {
    /// The six arguments, in order.
    pub fn args(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }
}

const _: () = assert!(size_of::<CallFrame>() == 9 * 8 && size_of::<CallFrame>() % 16 == 8);

global_asm!(
    r#"
    # The six argument registers, from the bottom of the frame up.
    .macro push_args
        push rdi
        push rsi
        push rdx
        push r10
        push r8
        push r9
    .endm
    .macro pop_args
        pop r9
        pop r8
        pop r10
        pop rdx
        pop rsi
        pop rdi
    .endm

    .section .text
    .balign 64
    .globl gate_fused
gate_fused:
    mov gs:[{user_rsp}], rsp
    mov rsp, gs:[{kernel_rsp}]
    push rcx
    mov r11, rax
    lahf
    seto al
    push rax
    push r11
    push_args
    cld
    mov rdi, rsp
    call {serve}
fused_return:
    mov r11, rax
    mov rax, [rsp + {flags}]
    add al, 127
    sahf
    mov rax, r11
    pop_args
    pop rcx
    pop rcx
    pop rcx
    mov rsp, gs:[{user_rsp}]
    jmp rcx

    .balign 64
    .globl syscall_fused
syscall_fused:
    mov gs:[{saved}], rcx
    mov gs:[{saved} + 8], r11
    mov ecx, cs
    test cl, 3
    jnz 1f
    lea rcx, [rip + 1f]
    mov r11d, {fused_flags}
    sysretq
1:  mov rcx, gs:[{saved}]
    mov r11, gs:[{saved} + 8]
    mov gs:[{user_rsp}], rsp
    mov rsp, gs:[{kernel_rsp}]
    push rcx
    push rax
    mov rcx, rax
    mov eax, r11d
    mov ah, al
    bt r11d, 11
    setc al
    mov [rsp], rax
    push rcx
    push_args
    cld
    mov rdi, rsp
    call {serve_escaped}
    jmp fused_return

    .balign 64
    .globl syscall_protected
syscall_protected:
    swapgs
    mov gs:[{user_rsp}], rsp
    mov rsp, gs:[{kernel_rsp}]
    push rcx
    push r11
    push rax
    push_args
    mov rdi, rsp
    call {serve}
    pop_args
    pop r11
    pop r11
    pop rcx
    mov rsp, gs:[{user_rsp}]
    swapgs
    sysretq
    "#,
    user_rsp = const offset_of!(PerCpu, user_rsp),
    kernel_rsp = const offset_of!(PerCpu, kernel_rsp),
    saved = const offset_of!(PerCpu, saved),
    flags = const offset_of!(CallFrame, flags),
    fused_flags = const FUSED_FLAGS,
    serve = sym crate::syscall::serve,
    serve_escaped = sym crate::syscall::serve_escaped,
);

unsafe extern "C" {
    fn gate_fused();
}

/// Address of the fused call gate, for the stubs.
pub fn fused_gate() -> u64 {
    gate_fused as *const () as u64
}

/// RFLAGS of a program at its start: interrupts on.
const PROGRAM_FLAGS: u64 = 0x202;

/// Starts the program at `entry` with the stack pointer `rsp`, all other registers zero (System V AMD64 ABI 3.4.1), in the way of
/// the isolation mode.
///
/// # Safety
/// `entry` and `rsp` lie in the program's memory, which is loaded and mapped.
pub unsafe fn enter_program(isolation: Isolation, entry: u64, rsp: u64) -> ! {
    match isolation {
        // SAFETY: leaves the LWK for good: `sysretq` takes RIP from RCX and RFLAGS from R11; GS goes back to the program.
        Isolation::Protected => unsafe {
            asm!(
                "swapgs", "mov rsp, r10", "xor eax, eax", "xor ebx, ebx", "xor edx, edx",
                "xor esi, esi", "xor edi, edi", "xor ebp, ebp", "xor r8d, r8d", "xor r9d, r9d",
                "xor r10d, r10d", "xor r12d, r12d", "xor r13d, r13d", "xor r14d, r14d",
                "xor r15d, r15d", "sysretq",
                in("rcx") entry, in("r10") rsp, in("r11") PROGRAM_FLAGS, options(noreturn),
            )
        },
        // SAFETY: leaves the LWK for good, at the same privilege: a jump.
        Isolation::Fused => unsafe {
            asm!(
                "mov rsp, r10", "xor eax, eax", "xor ebx, ebx", "xor edx, edx",
                "xor esi, esi", "xor edi, edi", "xor ebp, ebp", "xor r8d, r8d", "xor r9d, r9d",
                "xor r10d, r10d", "xor r11d, r11d", "xor r12d, r12d", "xor r13d, r13d",
                "xor r14d, r14d", "xor r15d, r15d", "jmp rcx",
                in("rcx") entry, in("r10") rsp, options(noreturn),
            )
        },
    }
}
