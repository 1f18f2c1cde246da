//! Scheduling calls of a program with one thread.

use margay_abi::Errno;
use margay_abi::calls::nr;

use super::{Result, delegate_checked};
use crate::arch::usercopy;
use crate::kernel::Kernel;

/// `sched_getaffinity`: the partition's cores, numbered from 0. For another process, Linux's answer.
pub fn sched_getaffinity(kernel: &'static Kernel, pid: u64, bytes: u64, mask: u64) -> Result {
    if !is_self(kernel, pid) {
        return delegate_checked(kernel, nr::SCHED_GETAFFINITY, [pid, bytes, mask, 0, 0, 0]);
    }
    let cores = u64::from(kernel.boot.cores);
    let words = cores.div_ceil(64);
    if !bytes.is_multiple_of(8) || bytes < words * 8 {
        return Err(Errno::EINVAL);
    }
    for word in 0..words {
        let here = (cores - word * 64).min(64);
        usercopy::write(mask + word * 8, u64::MAX >> (64 - here))?;
    }
    Ok(words * 8)
}

/// `sched_setaffinity`: any mask that includes a core of the partition is as good as the only one there is.
pub fn sched_setaffinity(kernel: &'static Kernel, pid: u64, bytes: u64, mask: u64) -> Result {
    if !is_self(kernel, pid) {
        return Err(Errno::EPERM);
    }
    if bytes == 0 {
        return Err(Errno::EINVAL);
    }
    let mut first = [0; 8];
    for (i, byte) in first.iter_mut().enumerate().take(bytes as usize) {
        *byte = usercopy::read::<u8>(mask + i as u64)?;
    }
    let cores = kernel.boot.cores.min(64);
    let ours = u64::MAX >> (64 - cores);
    if u64::from_le_bytes(first) & ours == 0 { Err(Errno::EINVAL) } else { Ok(0) }
}

fn is_self(kernel: &Kernel, pid: u64) -> bool {
    pid == 0 || pid == u64::from(kernel.boot.pid)
}

/// `getcpu`: the only core.
pub fn getcpu(core: u64, node: u64) -> Result {
    for out in [core, node] {
        if out != 0 {
            usercopy::write(out, 0_u32)?;
        }
    }
    Ok(0)
}

/// `membarrier`: a lone thread needs none, and none is offered.
pub fn membarrier(command: u64) -> Result {
    const QUERY: u64 = 0;
    if command == QUERY { Ok(0) } else { Err(Errno::EINVAL) }
}

/// `futex` of a lone thread: there is nobody to wake, and nobody who would wake it, so a wait ends by its timeout or not
/// at all, as it would on Linux.
pub fn futex(kernel: &'static Kernel, args: [u64; 6]) -> Result {
    const WAIT: u64 = 0;
    const WAKE: u64 = 1;
    const WAIT_BITSET: u64 = 9;
    const WAKE_BITSET: u64 = 10;
    const PRIVATE: u64 = 128;
    const CLOCK_REALTIME: u64 = 256;
    const TIMER_ABSTIME: u64 = 1;

    let [addr, operation, expected, timeout, ..] = args;
    if !addr.is_multiple_of(4) {
        return Err(Errno::EINVAL);
    }
    let value = usercopy::read::<u32>(addr)?;
    let clock = if operation & CLOCK_REALTIME != 0 { 0 } else { 1 };
    match operation & !(PRIVATE | CLOCK_REALTIME) {
        WAKE | WAKE_BITSET => Ok(0),
        WAIT | WAIT_BITSET if value != expected as u32 => Err(Errno::EAGAIN),
        WAIT | WAIT_BITSET if timeout == 0 => delegate_checked(kernel, nr::PAUSE, [0; 6]),
        WAIT => {
            delegate_checked(kernel, nr::CLOCK_NANOSLEEP, [clock, 0, timeout, 0, 0, 0])?;
            Err(Errno::ETIMEDOUT)
        }
        WAIT_BITSET => {
            let args = [clock, TIMER_ABSTIME, timeout, 0, 0, 0];
            delegate_checked(kernel, nr::CLOCK_NANOSLEEP, args)?;
            Err(Errno::ETIMEDOUT)
        }
        _ => Err(Errno::ENOSYS),
    }
}
