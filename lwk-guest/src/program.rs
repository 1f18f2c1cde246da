//! Loading the program: its segments, the vDSO, the first stack.
//!
//! The file is read by the proxy, straight to its final addresses: a delegated `pread` into memory that the proxy has
//! mapped already. While it is read no one has touched the new mappings, so a KVM that shadows page tables does not know them
//! yet, and setting the final protections costs nothing.

use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;

use lwk_core::elf::{ElfError, HEAD_BYTES, HEAD_MAX, Placement, Program};
use lwk_core::space::{Kind, MapFlags, Prot};
use lwk_core::stack::{Start, at};
use margay_abi::calls::nr;
use margay_abi::layout::{self, LARGE_PAGE, PAGE};
use margay_abi::{Errno, layout::USER_END};

use crate::arch::{cpu, gate, usercopy};
use crate::kernel::Kernel;
use crate::memory::{MMAP_TOP, program_block};
use crate::report::{self, log};
use crate::syscall::memory::read_file;
use crate::syscall::{delegate_checked, process};

/// Where a position-independent program is loaded.
const PIE_BASE: u64 = 0x1000_0000_0000;
/// The clock page, and one page later the vDSO.
const VDSO_DATA: u64 = USER_END - LARGE_PAGE;
const VDSO: u64 = VDSO_DATA + PAGE;
/// The stack ends here. Nothing is mapped between its lower end and [`MMAP_TOP`]: it is guarded.
const STACK_TOP: u64 = VDSO_DATA;
/// Status of a program that cannot be executed, as shells have it.
const CANNOT_EXECUTE: u64 = 126;

const READ_WRITE: Prot = Prot::READ.union(Prot::WRITE);

static VDSO_IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vdso.so"));

/// Why a program does not start. The VMM has checked the file before; what is left is rare.
enum LoadError {
    Elf(ElfError),
    System(&'static str, Errno),
    Truncated,
    Arguments,
}

/// Loads the program and starts it.
pub fn run(kernel: &'static Kernel) -> ! {
    kernel.status.tsc_load.store(cpu::read_tsc(), Relaxed);
    match load(kernel) {
        Ok((entry, rsp)) => {
            report::note_figures();
            kernel.status.tsc_user.store(cpu::read_tsc(), Relaxed);
            // SAFETY: both lie in the program's memory, which `load` has mapped and filled.
            unsafe { gate::enter_program(kernel.isolation, entry, rsp) }
        }
        Err(error) => {
            match error {
                LoadError::Elf(error) => log!("cannot run the program: {error}"),
                LoadError::System(what, errno) => {
                    let name = errno.name().unwrap_or("an error");
                    log!("cannot run the program: {what}: {name} (more `memory` may help)");
                }
                LoadError::Truncated => log!("cannot run the program: its file is truncated"),
                LoadError::Arguments => {
                    log!("cannot run the program: arguments and environment are too long")
                }
            }
            process::exit(kernel, CANNOT_EXECUTE)
        }
    }
}

/// Loads the program; returns its entry point and stack pointer.
fn load(kernel: &'static Kernel) -> Result<(u64, u64), LoadError> {
    let file = u64::from(kernel.boot.program_fd);
    let program = parse(kernel, file)?;
    let bias = match program.placement {
        Placement::Fixed => 0,
        Placement::Pie => PIE_BASE.next_multiple_of(program.align),
    };
    kernel.status.load_bias.store(bias, Relaxed);
    for segment in &program.segments {
        let pages = segment.pages();
        let pages = pages.start + bias..pages.end + bias;
        kernel
            .memory
            .get()
            .map_fixed(pages.clone(), READ_WRITE, Kind::Image)
            .map_err(|errno| LoadError::System("mapping its image", errno))?;
        let read =
            read_file(kernel, file, segment.vaddr + bias, segment.file_len, segment.file_offset)
                .map_err(|errno| LoadError::System("reading it", errno))?;
        if read < segment.file_len {
            return Err(LoadError::Truncated);
        }
        protect(kernel, pages, segment.prot)?;
    }
    delegate_checked(kernel, nr::CLOSE, [file, 0, 0, 0, 0, 0])
        .map_err(|errno| LoadError::System("closing it", errno))?;
    let heap = (program.image().end + bias).next_multiple_of(LARGE_PAGE);
    kernel.memory.get().start_heap(heap);
    map_vdso(kernel)?;
    let rsp = make_stack(kernel, &program, bias)?;
    kernel.memory.get().machine().release_args(&kernel.boot);
    Ok((program.entry + bias, rsp))
}

/// Reads and parses the program's headers.
fn parse(kernel: &'static Kernel, file: u64) -> Result<Program, LoadError> {
    let mut bytes = HEAD_BYTES;
    loop {
        let head = read_head(kernel, file, bytes)?;
        match Program::parse(&head) {
            Err(ElfError::Incomplete { needed }) if bytes < needed && needed <= HEAD_MAX => {
                if head.len() < bytes {
                    return Err(LoadError::Truncated);
                }
                bytes = needed;
            }
            result => return result.map_err(LoadError::Elf),
        }
    }
}

/// Reads the first `bytes` of the file, by way of program memory, the only memory that the proxy reads into.
fn read_head(kernel: &'static Kernel, file: u64, bytes: usize) -> Result<Vec<u8>, LoadError> {
    let flags = (MapFlags::PRIVATE | MapFlags::ANONYMOUS).bits();
    let out_of_memory = |errno| LoadError::System("reading its header", errno);
    let mapped = (bytes as u64).next_multiple_of(PAGE);
    let addr = kernel
        .memory
        .get()
        .mmap(0, mapped, u64::from(READ_WRITE.bits()), flags)
        .map_err(out_of_memory)?;
    let mut head = vec![0; bytes];
    let read = read_file(kernel, file, addr, bytes as u64, 0)
        .and_then(|read| usercopy::read_bytes(addr, &mut head).map(|()| read));
    kernel.memory.get().munmap(addr, mapped).map_err(out_of_memory)?;
    head.truncate(read.map_err(|errno| LoadError::System("reading its header", errno))? as usize);
    Ok(head)
}

fn protect(
    kernel: &'static Kernel,
    pages: core::ops::Range<u64>,
    prot: Prot,
) -> Result<(), LoadError> {
    if prot == READ_WRITE {
        return Ok(());
    }
    kernel
        .memory
        .get()
        .mprotect(pages.start, pages.end - pages.start, u64::from(prot.bits()))
        .map_err(|errno| LoadError::System("protecting its image", errno))
}

/// Maps the clock page and the vDSO.
fn map_vdso(kernel: &'static Kernel) -> Result<(), LoadError> {
    let failed = |errno| LoadError::System("mapping the vDSO", errno);
    let end = VDSO + (VDSO_IMAGE.len() as u64).next_multiple_of(PAGE);
    let mut memory = kernel.memory.get();
    memory
        .map_borrowed(VDSO_DATA..VDSO, layout::TIME_PAGE, Prot::READ, Kind::Vdso)
        .map_err(failed)?;
    memory.map_fixed(VDSO..end, Prot::READ | Prot::EXEC, Kind::Vdso).map_err(failed)?;
    write_text(&mut memory, VDSO, VDSO_IMAGE);
    Ok(())
}

/// Writes to program memory that the program itself may not write.
pub fn write_text(
    memory: &mut lwk_core::space::AddressSpace<crate::memory::Guest>,
    addr: u64,
    bytes: &[u8],
) {
    let mut done = 0;
    while done < bytes.len() {
        let at = addr + done as u64;
        let count = ((PAGE - at % PAGE) as usize).min(bytes.len() - done);
        let Some((gpa, _)) = memory.translate(at) else { return };
        memory.machine().write_physical(gpa, &bytes[done..done + count]);
        done += count;
    }
}

/// Maps the stack and puts on it what the program starts with. Returns the stack pointer.
fn make_stack(kernel: &'static Kernel, program: &Program, bias: u64) -> Result<u64, LoadError> {
    let boot = &kernel.boot;
    let bottom = STACK_TOP - boot.stack_bytes;
    if bottom <= MMAP_TOP {
        return Err(LoadError::System("mapping its stack", Errno::ENOMEM));
    }
    let prot = if program.stack_executable { READ_WRITE | Prot::EXEC } else { READ_WRITE };
    kernel
        .memory
        .get()
        .map_fixed(bottom..STACK_TOP, prot, Kind::Stack)
        .map_err(|errno| LoadError::System("mapping its stack", errno))?;

    let mut strings = program_block(boot).split(|&byte| byte == 0);
    let execfn = strings.next().unwrap_or_default();
    let argv: Vec<&[u8]> = strings.by_ref().take(boot.argc as usize).collect();
    let envp: Vec<&[u8]> = strings.take(boot.envc as usize).collect();
    kernel.process.get().set_name(execfn);
    let stack = Start {
        execfn,
        argv: &argv,
        envp: &envp,
        auxv: &auxv(kernel, program, bias),
        random: boot.random,
    }
    .build(STACK_TOP, boot.stack_bytes / 4 * 3)
    .map_err(|_| LoadError::Arguments)?;
    usercopy::write_bytes(stack.rsp, &stack.bytes)
        .map_err(|errno| LoadError::System("filling its stack", errno))?;
    Ok(stack.rsp)
}

/// The auxiliary vector.
fn auxv(kernel: &Kernel, program: &Program, bias: u64) -> [(u64, u64); 17] {
    /// Linux's `HWCAP2_FSGSBASE`: the instructions are usable.
    const FSGSBASE: u64 = 1 << 1;
    /// Linux's `USER_HZ`.
    const CLOCK_TICKS: u64 = 100;
    /// A signal frame without the vector state.
    const SIGNAL_FRAME: u64 = 1024;
    const FEATURES: u32 = 1;
    const VECTOR_STATE: u32 = 0xd;

    let [uid, euid, gid, egid] = kernel.boot.ids.map(u64::from);
    [
        (at::SYSINFO_EHDR, VDSO),
        (at::HWCAP, u64::from(cpu::cpuid(FEATURES).edx)),
        (at::PAGESZ, PAGE),
        (at::CLKTCK, CLOCK_TICKS),
        (at::PHDR, if program.phdr_vaddr == 0 { 0 } else { program.phdr_vaddr + bias }),
        (at::PHENT, program.phentsize),
        (at::PHNUM, program.phnum),
        (at::BASE, 0),
        (at::FLAGS, 0),
        (at::ENTRY, program.entry + bias),
        (at::UID, uid),
        (at::EUID, euid),
        (at::GID, gid),
        (at::EGID, egid),
        (at::SECURE, 0),
        (at::HWCAP2, FSGSBASE),
        (at::MINSIGSTKSZ, SIGNAL_FRAME + u64::from(cpu::cpuid(VECTOR_STATE).ebx)),
    ]
}
