//! System calls that the standard library does not have: affinity.

use std::io;
use std::mem::size_of_val;
use std::thread;

use crate::units::{CoreId, CoreSet};

/// One bit for each core that Linux can have.
type Mask = [u64; CoreId::LIMIT as usize / 64];

/// The cores that the calling thread may run on.
///
/// # Errors
/// `sched_getaffinity`'s.
pub(super) fn affinity() -> io::Result<CoreSet> {
    let mut mask: Mask = [0; _];
    // SAFETY: the kernel writes at most the given number of bytes, which is the size of the array behind the pointer; every
    // bit pattern is a valid array of u64.
    let rc = unsafe { libc::sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr().cast()) };
    if rc < 0 {
        return Err(io::Error::last_os_error());
    }
    let cores = 0..CoreId::LIMIT;
    Ok(cores.filter(|c| mask[*c as usize / 64] >> (c % 64) & 1 != 0).map(CoreId).collect())
}

/// Those of the cores that a thread of this process could be pinned to, whatever its affinity is now: what its cpuset
/// allows. Found by trying, in a thread of its own.
pub(super) fn allowed(cores: &CoreSet) -> CoreSet {
    let mut mask: Mask = [0; _];
    for core in cores.iter().filter(|core| core.0 < CoreId::LIMIT) {
        mask[core.0 as usize / 64] |= 1 << (core.0 % 64);
    }
    let probe = move || {
        // SAFETY: the kernel reads the given number of bytes, which is the size of the array behind the pointer.
        let rc = unsafe { libc::sched_setaffinity(0, size_of_val(&mask), mask.as_ptr().cast()) };
        // The kernel cuts the mask to the cpuset and refuses only when nothing is left.
        if rc == 0 { affinity().ok() } else { None }
    };
    let found = thread::scope(|scope| scope.spawn(probe).join());
    found.ok().flatten().unwrap_or_default().intersection(cores)
}
