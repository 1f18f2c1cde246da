//! The vDSO: Linux's clocks for a program, without a system call.
//!
//! A tiny shared object that the LWK maps into the program, its clock page ([`TimePage`]) right before it, and whose
//! address the program finds in `AT_SYSINFO_EHDR`. The symbols and their version are those of Linux's (vdso(7)). Built by the
//! LWK's `build.rs`; position-independent, without data of its own.

#![no_std]
#![no_main]

#[allow(dead_code, reason = "the definition is shared with the LWK and the VMM, which use more of it")]
#[path = "../../abi/src/time.rs"]
mod time;

use core::arch::{asm, global_asm, x86_64::_rdtsc};

use time::{Clock, TimePage};

const NS_PER_S: u64 = 1_000_000_000;

const SYS_GETTIMEOFDAY: u64 = 96;
const SYS_CLOCK_GETTIME: u64 = 228;
const SYS_CLOCK_GETRES: u64 = 229;
const SYS_GETCPU: u64 = 309;

// The linker script puts `time_page` one page before the object.
global_asm!(".hidden time_page");

fn clock_page() -> &'static TimePage {
    let page: *const TimePage;
    // SAFETY: computes an address.
    unsafe { asm!("lea {}, [rip + time_page]", out(reg) page, options(nomem, nostack, preserves_flags)) };
    // SAFETY: the LWK maps the clock page there; it is made of atomics.
    unsafe { &*page }
}

fn now(clock: Clock) -> u64 {
    // SAFETY: `rdtsc` reads a counter.
    clock_page().read_ns(clock, || unsafe { _rdtsc() })
}

/// Makes the system call after all.
fn system_call(number: u64, a: u64, b: u64, c: u64) -> i64 {
    let result;
    // SAFETY: the arguments are the program's own.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c,
            lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    result
}

/// `clock_gettime(2)`. A bad pointer faults, as in Linux's vDSO.
#[unsafe(no_mangle)]
extern "C" fn __vdso_clock_gettime(id: u64, out: *mut [u64; 2]) -> i64 {
    match Clock::from_id(id & 0xffff_ffff) {
        None => system_call(SYS_CLOCK_GETTIME, id, out as u64, 0),
        Some(clock) => {
            let ns = now(clock);
            // SAFETY: the program vouches for its pointer.
            unsafe { out.write([ns / NS_PER_S, ns % NS_PER_S]) };
            0
        }
    }
}

/// `clock_getres(2)`.
#[unsafe(no_mangle)]
extern "C" fn __vdso_clock_getres(id: u64, out: u64) -> i64 {
    system_call(SYS_CLOCK_GETRES, id, out, 0)
}

/// `gettimeofday(2)`.
#[unsafe(no_mangle)]
extern "C" fn __vdso_gettimeofday(time: *mut [u64; 2], zone: u64) -> i64 {
    if zone != 0 || time.is_null() {
        return system_call(SYS_GETTIMEOFDAY, time as u64, zone, 0);
    }
    let ns = now(Clock::Real);
    // SAFETY: not null, and the program vouches for its pointer.
    unsafe { time.write([ns / NS_PER_S, ns % NS_PER_S / 1000]) };
    0
}

/// `time(2)`.
#[unsafe(no_mangle)]
extern "C" fn __vdso_time(out: *mut u64) -> u64 {
    let seconds = now(Clock::Real) / NS_PER_S;
    if !out.is_null() {
        // SAFETY: not null, and the program vouches for its pointer.
        unsafe { out.write(seconds) };
    }
    seconds
}

/// `getcpu(2)`. A system call: a pagetable-based KVM shows a program the host's CPU number in all the usual places.
#[unsafe(no_mangle)]
extern "C" fn __vdso_getcpu(core: u64, node: u64, cache: u64) -> i64 {
    system_call(SYS_GETCPU, core, node, cache)
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
