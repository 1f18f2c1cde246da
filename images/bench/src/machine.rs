//! The few things that need the machine itself: the cycle counter, system calls without a library in between, and
//! the binding to a core.

use std::{
    arch::{
        asm,
        x86_64::{_mm_lfence, _rdtsc},
    },
    io,
    time::{Duration, Instant},
};

use margay_abi::calls::{nr, private};

/// Reads the time-stamp counter after everything before it has finished.
#[inline(always)]
pub fn read_tsc() -> u64 {
    // SAFETY: every x86-64 processor has both instructions, and user code may read the TSC.
    unsafe {
        // Without it the counter may be read while the call being timed still waits for memory.
        _mm_lfence();
        _rdtsc()
    }
}

/// Measures the frequency of the TSC against `CLOCK_MONOTONIC`, in cycles per second. Takes about 60 ms.
pub fn measure_tsc_hz() -> f64 {
    const SPAN: Duration = Duration::from_millis(60);
    let (start, start_tsc) = (Instant::now(), read_tsc());
    loop {
        let (elapsed, tsc) = (start.elapsed(), read_tsc());
        if elapsed >= SPAN {
            return (tsc - start_tsc) as f64 / elapsed.as_secs_f64();
        }
    }
}

/// `getpid`, which an LWK answers itself.
#[inline(always)]
pub fn call_getpid() -> i64 {
    // SAFETY: takes no pointer and changes nothing.
    unsafe { call::<{ nr::GETPID }>() }
}

/// `getppid`, which an LWK delegates: the shortest delegated call.
#[inline(always)]
pub fn call_getppid() -> i64 {
    // SAFETY: takes no pointer and changes nothing.
    unsafe { call::<{ nr::GETPPID }>() }
}

/// One exit to the VMM and back; negative where there is no LWK.
#[inline(always)]
pub fn call_probe_exit() -> i64 {
    // SAFETY: an LWK's private call without arguments; Linux does not have its number and says so.
    unsafe { call::<{ private::PROBE_EXIT }>() }
}

/// Makes a call without arguments. Inlined, and in the form in which every library makes its calls (`mov eax, imm32`
/// before `syscall`), so that it is measured as an ordinary program's call would be.
///
/// # Safety
/// The call must not touch memory or end the thread.
#[inline(always)]
unsafe fn call<const NR: u32>() -> i64 {
    let returned: i64;
    // SAFETY: the caller answers for the call; the instruction itself changes only RAX, RCX and R11.
    unsafe {
        asm!(
            "mov eax, {nr}",
            "syscall",
            nr = const NR,
            out("rax") returned,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    returned
}

/// Binds the calling thread to a core.
///
/// # Errors
/// Linux's: `EINVAL` for a core that is not there or not allowed.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: an all-zero `cpu_set_t` is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` is below `CPU_SETSIZE`, the number of bits of the set.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set is live and of the size given.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::{call_getpid, call_getppid, call_probe_exit, measure_tsc_hz, pin_to_core};

    #[test]
    fn raw_calls_return_what_the_library_returns() {
        assert_eq!(call_getpid(), i64::from(std::process::id()));
        assert_eq!(call_getppid(), i64::from(std::os::unix::process::parent_id()));
    }

    #[test]
    fn linux_does_not_have_the_exit_probe() {
        assert_eq!(call_probe_exit(), -i64::from(libc::ENOSYS));
    }

    #[test]
    fn two_measurements_of_the_frequency_agree() {
        let (first, second) = (measure_tsc_hz(), measure_tsc_hz());
        assert!((first / second - 1.0).abs() < 0.01, "{first} and {second}");
    }

    #[test]
    fn a_core_that_is_not_there_is_an_error() {
        assert_eq!(pin_to_core(usize::MAX).unwrap_err().raw_os_error(), Some(libc::EINVAL));
        assert_eq!(pin_to_core(1023).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
