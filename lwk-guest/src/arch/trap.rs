//! Exceptions, and the one interrupt.
//!
//! Both modes have an IDT of their own, whose stubs push vector and error code in the same order, so that the one
//! handler, [`crate::fault::handle`], sees one [`TrapFrame`].
//!
//! *Protected*: the stub goes on at CPL 0, as in any kernel.
//!
//! *Fused*: where CPL 0 is emulated each of its instructions costs a microsecond, so the stub does as little as can be: it
//! pushes a second interrupt frame and `iretq`s through it to CPL 3, onto the very stack that the exception arrived on. There,
//! natively, the registers are saved, the handler runs, and an `iretq` that stays at CPL 3 resumes what was interrupted. While
//! that goes on RSP0 points to another stack: a second exception would otherwise overwrite the first one's frame.
//!
//! The *privilege gate* ([`super::privilege`]) is in here too: it is an exception, told from others by its address.
//!
//! The wake-up interrupt only ends a halt. It leaves a mark, for the core that was about to halt when it came, and steps a counter, for
//! the VMM that wants to know whether this core still takes interrupts. It has a stack of its own, since it may come at any moment, that of the frame's last use included.

use core::arch::global_asm;

use margay_abi::{hypercall::WAKE_VECTOR, layout, status};

use super::segments::{
    KERNEL_CS, NESTED_STACK_TOP, PULSE, TRAP_STACK_TOP, TSS_RSP0, USER_CS, USER_DS,
};

/// What an exception leaves on the stack. The order is that of [`status::Registers`].
#[derive(Debug)]
#[repr(C)]
pub struct TrapFrame {
    /// rax, rbx, rcx, rdx, rsi, rdi, rbp, r8 .. r15.
    pub general: [u64; 15],
    /// Exception vector.
    pub vector: u64,
    /// The processor's error code, or 0.
    pub error: u64,
    /// Where it happened.
    pub rip: u64,
    /// Code segment, whose low two bits are the privilege level.
    pub cs: u64,
    /// Flags.
    pub rflags: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Stack segment.
    pub ss: u64,
}

const _: () = assert!(status::GENERAL_NAMES.len() == 15 && size_of::<TrapFrame>() == 22 * 8);

/// The vectors that stubs exist for: those of the processor.
const EXCEPTIONS: usize = 32;
/// Bytes of a stub.
const STUB: usize = 16;
/// Where the linker script puts the stubs.
const STUBS: u64 = layout::IMAGE_OFFSET + layout::IMAGE;
const FUSED_STUBS: u64 = STUBS + (EXCEPTIONS * STUB) as u64;
const WAKE_STUB: u64 = FUSED_STUBS + (EXCEPTIONS * STUB) as u64;
const SPURIOUS_STUB: u64 = WAKE_STUB + 64;
/// Vector of spurious local-APIC interrupts: its low four bits must be set (SDM vol 3 11.9).
pub const SPURIOUS_VECTOR: u8 = 0x3f;
/// x2APIC end-of-interrupt register (SDM vol 3 11.12.1.2).
const X2APIC_EOI: u32 = 0x80b;
/// RFLAGS of a handler at CPL 3: interrupts on, since its last `iretq` could not turn them on again (SDM vol 2 IRET: CPL 3 does
/// not change IF).
const FUSED_HANDLER_FLAGS: u64 = 0x202;

global_asm!(
    r#"
    # The vector, and before it a zero where the processor pushes no error code (SDM vol 3 table 6-1).
    .macro push_vector vector
        .set has_error, 0
        .irp v, 8, 10, 11, 12, 13, 14, 17, 21, 29, 30
            .if \vector == \v
                .set has_error, 1
            .endif
        .endr
        .if has_error == 0
            push 0
        .endif
        push \vector
    .endm

    .macro push_general
        push r15
        push r14
        push r13
        push r12
        push r11
        push r10
        push r9
        push r8
        push rbp
        push rdi
        push rsi
        push rdx
        push rcx
        push rbx
        push rax
    .endm

    .macro pop_general
        pop rax
        pop rbx
        pop rcx
        pop rdx
        pop rsi
        pop rdi
        pop rbp
        pop r8
        pop r9
        pop r10
        pop r11
        pop r12
        pop r13
        pop r14
        pop r15
    .endm

    .section .stubs, "ax"
    .set vector, 0
    .rept 32
        .balign 16
        push_vector vector
        jmp trap_protected
        .set vector, vector + 1
    .endr

    .set vector, 0
    .rept 32
        .balign 16
        push_vector vector
        .if vector == 6
            jmp trap_fused_undefined
        .elseif vector == 14
            jmp trap_fused_page_fault
        .else
            jmp trap_fused
        .endif
        .set vector, vector + 1
    .endr

    .balign 16
trap_wake:
    mov byte ptr [rip + {woken}], 1
    inc qword ptr [{pulse}]
    push rax
    push rcx
    push rdx
    mov ecx, {eoi}
    xor eax, eax
    xor edx, edx
    wrmsr
    pop rdx
    pop rcx
    pop rax
    iretq
    .balign 64
trap_spurious:
    iretq

    .section .text
    # Stack at all of these: vector, error, rip, cs, rflags, rsp, ss. The processor aligned RSP to 16 before it pushed the
    # first of these seven words; with the fifteen registers a call finds it aligned again.
trap_protected:
    test byte ptr [rsp + 24], 3
    jz 1f
    swapgs
1:  push_general
    mov rax, cr2
    mov [rip + {fault_address}], rax
    cld
    mov rdi, rsp
    call {handle}
    pop_general
    test byte ptr [rsp + 24], 3
    jz 2f
    swapgs
2:  add rsp, 16
    iretq

    # An undefined instruction at the privilege gate's address is a request; see `privilege`.
trap_fused_undefined:
    cmp qword ptr [rsp + 16], offset privilege_gate
    je privilege_serve
    jmp trap_fused
    # CPL 3 cannot read CR2.
trap_fused_page_fault:
    push rax
    mov rax, cr2
    mov [rip + {fault_address}], rax
    pop rax
trap_fused:
    mov qword ptr [{rsp0}], {nested_top}
    push {user_ds}
    push rsp
    push {handler_flags}
    push {user_cs}
    push offset trap_fused_user
    iretq

    # CPL 3. RSP points to the user_ds word above, below it nothing of use.
trap_fused_user:
    add rsp, 8
    push_general
    mov rdi, rsp
    call {handle}
    pop_general
    mov qword ptr [{rsp0}], {trap_top}
    add rsp, 16
    iretq
    "#,
    woken = sym super::privilege::WOKEN,
    pulse = const PULSE as i64,
    fault_address = sym super::privilege::FAULT_ADDRESS,
    handle = sym crate::fault::handle,
    eoi = const X2APIC_EOI,
    rsp0 = const TSS_RSP0 as i64,
    nested_top = const NESTED_STACK_TOP as i64,
    trap_top = const TRAP_STACK_TOP as i64,
    user_ds = const USER_DS,
    user_cs = const USER_CS,
    handler_flags = const FUSED_HANDLER_FLAGS,
);

/// An interrupt gate (SDM vol 3 6.14.1).
const fn gate(handler: u64, privilege: u64, stack: u64) -> [u64; 2] {
    const INTERRUPT_GATE: u64 = 0xe << 40;
    const PRESENT: u64 = 1 << 47;
    let low = handler & 0xffff
        | KERNEL_CS << 16
        | stack << 32
        | INTERRUPT_GATE
        | privilege << 45
        | PRESENT
        | (handler >> 16 & 0xffff) << 48;
    [low, handler >> 32]
}

const GATES: usize = WAKE_VECTOR as usize + 1;

/// An interrupt descriptor table. Interrupts have a stack of their own: in fused mode they are on at CPL 0 too, where `syscall` has just
/// arrived on the program's.
#[repr(C, align(16))]
pub struct Idt([[u64; 2]; GATES]);

const fn idt(stubs: u64) -> Idt {
    const BREAKPOINT: usize = 3;
    const DOUBLE_FAULT: usize = 8;
    let mut gates = [[0; 2]; GATES];
    let mut vector = 0;
    while vector < EXCEPTIONS {
        let privilege = if vector == BREAKPOINT { 3 } else { 0 };
        let stack = if vector == DOUBLE_FAULT { 1 } else { 0 };
        gates[vector] = gate(stubs + (vector * STUB) as u64, privilege, stack);
        vector += 1;
    }
    gates[WAKE_VECTOR as usize] = gate(WAKE_STUB, 0, 2);
    gates[SPURIOUS_VECTOR as usize] = gate(SPURIOUS_STUB, 0, 2);
    Idt(gates)
}

/// The IDT of protected mode.
pub static IDT_PROTECTED: Idt = idt(STUBS);
/// The IDT of fused mode.
pub static IDT_FUSED: Idt = idt(FUSED_STUBS);
const _: () = assert!(WAKE_VECTOR as usize >= EXCEPTIONS);
/// Limit of both.
pub const IDT_LIMIT: u16 = size_of::<Idt>() as u16 - 1;
