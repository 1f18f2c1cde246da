//! From the PVH entry to Rust.
//!
//! A PVH loader (Xen's `pvh.pandoc`, "x86/HVM direct boot ABI") starts the vCPU in 32-bit protected mode, paging off, EBX =
//! `hvm_start_info`. All tables that the way up needs are data in the image: where CPL 0 is emulated every
//! instruction here costs a microsecond, so there are about sixty of them and no loop.
//!
//! The boot page tables map the first GiB of guest memory three times: at 0, at `DIRECT_MAP` and at `IMAGE_OFFSET`,
//! user-accessible, since fused mode leaves CPL 0 here already. [`crate::memory`] replaces them.

use core::arch::global_asm;
use core::mem::offset_of;

use margay_abi::boot::{BootInfo, Isolation};
use margay_abi::layout;

use super::segments::{
    GDT, INTERRUPT_STACK_TOP, KERNEL_CS, KERNEL_DS, KERNEL_STACK_TOP, NESTED_STACK_TOP, PERCPU,
    STAR, TRAP_STACK_TOP, TSS, TSS_BITMAP_OFFSET, TSS_BYTES, TSS_IO_BITMAP, TSS_IST1, TSS_IST2,
    TSS_RSP0, USER_CS, USER_DS,
};
use super::trap::{IDT_FUSED, IDT_LIMIT, IDT_PROTECTED, SPURIOUS_VECTOR};

/// CR0: protection, coprocessor monitoring off, native x87 errors, write protection, paging (SDM vol 3 2.5).
const CR0: u32 = 1 << 0 | 1 << 1 | 1 << 4 | 1 << 5 | 1 << 16 | 1 << 31;
/// CR4: PAE, global pages, SSE with its exceptions, FSGSBASE, XSAVE (SDM vol 3 2.5).
const CR4: u32 = 1 << 5 | 1 << 7 | 1 << 9 | 1 << 10 | 1 << 16 | 1 << 18;
/// EFER: `syscall`, long mode, no-execute (SDM vol 3 2.2.1).
const EFER: u32 = 1 << 0 | 1 << 8 | 1 << 11;
/// Local APIC on, in x2APIC mode, on the boot CPU, at its usual address (SDM vol 3 11.12.1).
const APIC_BASE: u32 = 0xfee0_0000 | 1 << 11 | 1 << 10 | 1 << 8;
/// Spurious-interrupt register: APIC software-enabled (SDM vol 3 11.9).
const SPURIOUS: u32 = 1 << 8 | SPURIOUS_VECTOR as u32;
/// Flags that `syscall` clears: interrupts, direction, trap, alignment check, nested task.
const SYSCALL_MASK: u32 = 0x200 | 0x400 | 0x100 | 0x4_0000 | 0x4000;
/// The same in fused mode, but for interrupts: a pagetable-based KVM stays at CPL 3 in `syscall`, where nothing could turn them on again
/// (SDM vol 2 IRET: CPL 3 does not change IF). One that arrives at CPL 0 on the program's stack does no harm: it has its own.
const FUSED_SYSCALL_MASK: u32 = SYSCALL_MASK & !0x200;
/// RFLAGS of the LWK in fused mode: interrupts on.
pub const FUSED_FLAGS: u64 = 0x200 | 0x2;

const MSR_APIC_BASE: u32 = 0x1b;
const MSR_X2APIC_SPURIOUS: u32 = 0x80f;
const MSR_EFER: u32 = 0xc000_0080;
const MSR_STAR: u32 = 0xc000_0081;
const MSR_LSTAR: u32 = 0xc000_0082;
const MSR_SYSCALL_MASK: u32 = 0xc000_0084;
const MSR_GS_BASE: u32 = 0xc000_0101;

/// Offset of the module list's address in `hvm_start_info`, and of a module's address in its entry.
const START_INFO_MODULES: usize = 16;

/// Page-table entry bits of the boot tables: present, writable, user; for the last level also large.
const TABLE: u64 = 7;
const LARGE: u64 = 0x87;

global_asm!(
    r#"
    .section .note.Xen, "a", @note
    .balign 4
    .long 4, 8, {pvh_note}
    .asciz "Xen"
    .quad pvh_entry + {to_physical}

    .section .data
    .balign 4096
boot_pml4:
    .quad boot_pdpt + {to_physical} + {table}
    .zero 272 * 8
    .quad boot_pdpt + {to_physical} + {table}
    .zero 237 * 8
    .quad boot_pdpt_image + {to_physical} + {table}
boot_pdpt:
    .quad boot_pd + {to_physical} + {table}
    .zero 511 * 8
boot_pdpt_image:
    .zero 510 * 8
    .quad boot_pd + {to_physical} + {table}
    .zero 8
boot_pd:
    .set page, 0
    .rept 512
        .quad page + {large}
        .set page, page + 0x200000
    .endr

    .balign 8
boot_gdt_pointer:
    .word 79
    .long {gdt} + {to_physical}
    .balign 8
gdt_pointer:
    .word 79
    .quad {gdt}
    .balign 8
idt_pointer_protected:
    .word {idt_limit}
    .quad {idt_protected}
    .balign 8
idt_pointer_fused:
    .word {idt_limit}
    .quad {idt_fused}

    .macro set_msr number, high, low
        mov ecx, \number
        mov edx, \high
        mov eax, \low
        wrmsr
    .endm

    # A 64-bit register: the linker sign-extends a kernel address only into one.
    .macro set_lstar entry
        mov ecx, {lstar}
        mov edx, -1
        mov rax, offset \entry
        wrmsr
    .endm

    .section .text
    .code32
    .globl pvh_entry
pvh_entry:
    cli
    lgdt [boot_gdt_pointer + {to_physical}]
    mov eax, {cr4}
    mov cr4, eax
    mov eax, offset boot_pml4 + {to_physical}
    mov cr3, eax
    set_msr {efer}, 0, {efer_init}
    mov eax, {cr0}
    mov cr0, eax
    # A far jump to kernel_cs:boot_long. The assembler knows it in AT&T syntax only.
    .byte 0xea
    .long boot_long + {to_physical}
    .word {kernel_cs}
    .code64
boot_long:
    mov eax, {kernel_ds}
    mov ss, eax
    xor eax, eax
    mov ds, eax
    mov es, eax
    mov fs, eax
    mov gs, eax
    movabs rsp, offset boot_high
    jmp rsp
boot_high:
    lgdt [rip + gdt_pointer]
    mov rsp, {kernel_stack}
    mov qword ptr [{rsp0}], {trap_stack}
    mov qword ptr [{ist1}], {nested_stack}
    mov qword ptr [{ist2}], {interrupt_stack}
    mov word ptr [{io_bitmap}], {no_bitmap}
    mov eax, {tss}
    ltr ax
    set_msr {gs_base}, -1, {percpu}
    mov qword ptr [{percpu} + 8], {kernel_stack} - 8
    set_msr {star}, {star_high}, 0
    set_msr {syscall_mask}, 0, {syscall_mask_init}
    set_msr {apic_base}, 0, {apic_base_init}
    set_msr {apic_spurious}, 0, {apic_spurious_init}

    # EBX = start info. Its first module is the boot record, which names the isolation mode, and is `start`'s argument.
    mov ebx, ebx
    mov esi, [rbx + {modules}]
    mov edi, [rsi]
    cmp dword ptr [rdi + {isolation}], {fused}
    je 1f

    lidt [rip + idt_pointer_protected]
    set_lstar syscall_protected
    call {start}
    ud2

1:  lidt [rip + idt_pointer_fused]
    mov word ptr [{io_bitmap}], {bitmap}
    set_msr {syscall_mask}, 0, {fused_syscall_mask}
    set_lstar syscall_fused
    push {user_ds}
    push {kernel_stack}
    push {fused_flags}
    push {user_cs}
    push offset boot_fused
    iretq
boot_fused:
    call {start}
    ud2
    "#,
    pvh_note = const 18,
    to_physical = const layout::IMAGE_OFFSET.wrapping_neg(),
    table = const TABLE,
    large = const LARGE,
    gdt = sym GDT,
    idt_protected = sym IDT_PROTECTED,
    idt_fused = sym IDT_FUSED,
    idt_limit = const IDT_LIMIT,
    cr0 = const CR0,
    cr4 = const CR4,
    efer = const MSR_EFER,
    efer_init = const EFER,
    kernel_cs = const KERNEL_CS,
    kernel_ds = const KERNEL_DS,
    user_cs = const USER_CS,
    user_ds = const USER_DS,
    kernel_stack = const KERNEL_STACK_TOP as i64,
    trap_stack = const TRAP_STACK_TOP as i64,
    nested_stack = const NESTED_STACK_TOP as i64,
    rsp0 = const TSS_RSP0 as i64,
    ist1 = const TSS_IST1 as i64,
    ist2 = const TSS_IST2 as i64,
    interrupt_stack = const INTERRUPT_STACK_TOP as i64,
    io_bitmap = const TSS_IO_BITMAP as i64,
    no_bitmap = const TSS_BYTES,
    bitmap = const TSS_BITMAP_OFFSET,
    tss = const TSS,
    percpu = const PERCPU as i64,
    gs_base = const MSR_GS_BASE,
    star = const MSR_STAR,
    star_high = const (STAR >> 32) as u32,
    syscall_mask = const MSR_SYSCALL_MASK,
    syscall_mask_init = const SYSCALL_MASK,
    fused_syscall_mask = const FUSED_SYSCALL_MASK,
    apic_base = const MSR_APIC_BASE,
    apic_base_init = const APIC_BASE,
    apic_spurious = const MSR_X2APIC_SPURIOUS,
    apic_spurious_init = const SPURIOUS,
    lstar = const MSR_LSTAR,
    modules = const START_INFO_MODULES,
    isolation = const offset_of!(BootInfo, isolation),
    fused = const Isolation::Fused as u32,
    fused_flags = const FUSED_FLAGS,
    start = sym crate::start,
);

const _: () =
    assert!((layout::DIRECT_MAP >> 39) & 511 == 273 && (layout::IMAGE_OFFSET >> 30) & 511 == 510);
