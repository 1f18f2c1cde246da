//! Segments: the GDT and the task-state segment, laid out at build time.
//!
//! The selectors are Linux's own. A pagetable-based host KVM runs CPL 3 with its own GDT, so user code must use
//! the selectors that Linux gives to user code; and `sysret` fixes the order anyway.

use core::cell::UnsafeCell;

use margay_abi::{hypercall, layout};

/// Kernel code.
pub const KERNEL_CS: u64 = 0x10;
/// Kernel data.
pub const KERNEL_DS: u64 = 0x18;
/// User data, with its privilege level.
pub const USER_DS: u64 = 0x28 | 3;
/// User code, with its privilege level.
pub const USER_CS: u64 = 0x30 | 3;
/// The task-state segment.
pub const TSS: u64 = 0x40;
/// `IA32_STAR` (SDM vol 3 5.8.8): `syscall` loads CS = 0x10, SS = 0x18; `sysretq` CS = 0x33, SS = 0x2b.
pub const STAR: u64 = (0x23 << 48) | (KERNEL_CS << 32);

/// Bytes of the stack on which the LWK serves system calls.
const KERNEL_STACK: usize = 32 << 10;
/// Bytes of the stack on which exceptions arrive.
const TRAP_STACK: usize = 16 << 10;
/// Bytes of the stack for what arrives while an exception is handled.
const NESTED_STACK: usize = 4 << 10;

/// Bytes of the I/O bitmap, up to the last hypercall's port.
const IO_BITMAP: usize = hypercall::END as usize / 8;

/// What the gates reach through GS.
#[derive(Debug)]
#[repr(C)]
pub struct PerCpu {
    /// Stack pointer of the program during a system call.
    pub user_rsp: u64,
    /// Where the LWK's stack starts for a system call: 8 below a multiple of 16, so that after the gate's nine pushes a call finds
    /// the alignment that the ABI wants.
    pub kernel_rsp: u64,
    /// RCX and R11 of a `syscall` in fused mode, while CPL 0 hands over to CPL 3.
    pub saved: [u64; 2],
    /// Wake-up interrupts taken; the VMM reads it.
    pub pulse: u64,
}

/// Bytes of the stack for the wake-up interrupt.
const INTERRUPT_STACK: usize = 4 << 10;

/// A stack.
#[repr(C, align(4096))]
struct Stack<const BYTES: usize>([u8; BYTES]);

/// Task-state segment (SDM vol 3 8.7). Packed: RSP0 lies at offset 4.
#[derive(Debug)]
#[repr(C, packed(4))]
pub struct TaskState {
    reserved0: u32,
    /// Stack for what interrupts CPL 3.
    pub rsp0: u64,
    reserved1: [u64; 3],
    /// Stack for double faults, whatever they interrupt.
    pub ist1: u64,
    /// Stack for the wake-up interrupt, whatever it interrupts.
    pub ist2: u64,
    reserved2: [u64; 6],
    reserved3: u16,
    /// Offset of the I/O bitmap. In protected mode the boot code sets it past the limit: no port for CPL 3.
    io_bitmap: u16,
    /// The I/O bitmap of fused mode (SDM vol 1 18.5.2): a clear bit allows its port to CPL 3. Not IOPL 3: a
    /// pagetable-based KVM loses it on the way through `iretq`.
    bitmap: [u8; IO_BITMAP],
    /// The processor reads two bytes at a time, so a byte of ones must follow.
    bitmap_end: u8,
}

/// Everything a CPU has of its own. Zero at boot; the boot code sets what is not.
#[repr(C, align(4096))]
pub struct CpuArea {
    percpu: PerCpu,
    tss: TaskState,
    interrupt: Stack<INTERRUPT_STACK>,
    nested: Stack<NESTED_STACK>,
    trap: Stack<TRAP_STACK>,
    /// Never mapped: an overflow of the stack above faults instead of eating the one below.
    guard: Stack<{ layout::PAGE as usize }>,
    kernel: Stack<KERNEL_STACK>,
}

/// The boot CPU's area. Shared with the processor and the asm, which write it behind Rust's back.
#[repr(transparent)]
struct BootCpu(UnsafeCell<CpuArea>);

// SAFETY: nothing in Rust ever makes a reference to the inside; only asm and raw pointers touch it.
unsafe impl Sync for BootCpu {}

#[unsafe(link_section = ".cpu")]
#[used]
static CPU: BootCpu = BootCpu(UnsafeCell::new(
    // SAFETY: every field of the area is an integer or an array of them, for which all zero bits are valid.
    unsafe { core::mem::zeroed() },
));

/// Where the linker script puts [`CpuArea`].
pub const CPU_AREA: u64 = layout::IMAGE_OFFSET + layout::IMAGE + layout::PAGE;
/// The boot CPU's [`PerCpu`], the base of GS.
pub const PERCPU: u64 = CPU_AREA;
/// The boot CPU's count of wake-up interrupts.
pub const PULSE: u64 = PERCPU + core::mem::offset_of!(PerCpu, pulse) as u64;
/// The boot CPU's [`TaskState`].
pub const TSS_BASE: u64 = CPU_AREA + core::mem::offset_of!(CpuArea, tss) as u64;
/// The boot CPU's RSP0.
pub const TSS_RSP0: u64 = TSS_BASE + core::mem::offset_of!(TaskState, rsp0) as u64;
/// The boot CPU's IST1.
pub const TSS_IST1: u64 = TSS_BASE + core::mem::offset_of!(TaskState, ist1) as u64;
/// The boot CPU's I/O bitmap offset.
pub const TSS_IO_BITMAP: u64 = TSS_BASE + core::mem::offset_of!(TaskState, io_bitmap) as u64;
/// Offset of the I/O bitmap in a task-state segment.
pub const TSS_BITMAP_OFFSET: u64 = core::mem::offset_of!(TaskState, bitmap) as u64;
/// Bytes of a task-state segment.
pub const TSS_BYTES: u64 = core::mem::size_of::<TaskState>() as u64;
/// The boot CPU's IST2.
pub const TSS_IST2: u64 = TSS_BASE + core::mem::offset_of!(TaskState, ist2) as u64;
/// Top of the stack for the wake-up interrupt.
pub const INTERRUPT_STACK_TOP: u64 = CPU_AREA + core::mem::offset_of!(CpuArea, nested) as u64;
/// Top of the stack for what arrives while an exception is handled.
pub const NESTED_STACK_TOP: u64 = CPU_AREA + core::mem::offset_of!(CpuArea, trap) as u64;
/// Top of the stack on which exceptions arrive.
pub const TRAP_STACK_TOP: u64 = CPU_AREA + GUARD_OFFSET;
/// The page that is never mapped.
pub const STACK_GUARD: u64 = CPU_AREA + GUARD_OFFSET;
const GUARD_OFFSET: u64 = core::mem::offset_of!(CpuArea, guard) as u64;
/// Top of the stack for system calls; also the boot stack.
pub const KERNEL_STACK_TOP: u64 = CPU_AREA + core::mem::size_of::<CpuArea>() as u64;

/// A flat code or data descriptor (SDM vol 3 3.4.5): present, with the type bits `kind` and the privilege level `dpl`.
const fn flat(kind: u64, dpl: u64) -> u64 {
    const BASE_0_LIMIT_4G: u64 = 0x008f_0000_0000_ffff;
    const PRESENT: u64 = 1 << 47;
    const NOT_SYSTEM: u64 = 1 << 44;
    BASE_0_LIMIT_4G | kind | dpl << 45 | PRESENT | NOT_SYSTEM
}

// The types have their accessed bit set: the processor would set it at the first load, by a write to the GDT.
const CODE_64: u64 = 0xb << 40 | 1 << 53;
const CODE_32: u64 = 0xb << 40 | 1 << 54;
const DATA: u64 = 0x3 << 40 | 1 << 54;
const TSS_LIMIT: u64 = TSS_BYTES - 1;
/// Low half of an available 64-bit TSS descriptor (SDM vol 3 8.2.3).
const TSS_LOW: u64 =
    TSS_LIMIT | (TSS_BASE & 0xff_ffff) << 16 | 0x89 << 40 | (TSS_BASE >> 24 & 0xff) << 56;

/// Denies CPL 3 all ports but the hypercalls'. In fused mode, where the LWK itself rings them from CPL 3.
pub fn allow_only_hypercall_ports() {
    let bitmap = (TSS_BASE + TSS_BITMAP_OFFSET) as *mut u8;
    // SAFETY: inside the boot CPU's area, which the LWK maps writable and only the processor reads.
    unsafe {
        bitmap.write_bytes(0xff, usize::from(hypercall::BASE) / 8);
        bitmap.add(IO_BITMAP).write(0xff);
    }
}

/// The GDT.
#[repr(C, align(16))]
pub struct Gdt(pub [u64; 10]);

/// The boot CPU's GDT. In `.data`: loading the TSS marks its descriptor busy.
#[unsafe(link_section = ".data")]
pub static GDT: Gdt = Gdt([
    0,
    0,
    flat(CODE_64, 0),
    flat(DATA, 0),
    flat(CODE_32, 3),
    flat(DATA, 3),
    flat(CODE_64, 3),
    0,
    TSS_LOW,
    TSS_BASE >> 32,
]);

const _: () = {
    assert!(PULSE == layout::IMAGE_OFFSET + layout::PULSE);
    assert!(TSS_BITMAP_OFFSET == 104 && core::mem::offset_of!(TaskState, rsp0) == 4);
    assert!(core::mem::offset_of!(TaskState, io_bitmap) == 102);
    assert!((KERNEL_STACK_TOP | TRAP_STACK_TOP | NESTED_STACK_TOP).is_multiple_of(16));
};
