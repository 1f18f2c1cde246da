//! Binds the threads of the floor measurement to their cores.

use std::io;
use std::mem::size_of_val;

use super::BenchError;
use crate::units::CoreId;

/// Binds the calling thread to `core`.
///
/// # Errors
/// [`BenchError::Pin`] for a core that is not there or not allowed.
pub(super) fn pin_to_core(core: CoreId) -> Result<(), BenchError> {
    let mut mask = [0_u64; CoreId::LIMIT as usize / 64];
    let Some(word) = mask.get_mut(core.0 as usize / 64) else {
        return Err(BenchError::Pin { core, source: io::Error::from_raw_os_error(libc::EINVAL) });
    };
    *word = 1 << (core.0 % 64);
    // SAFETY: the kernel reads the given number of bytes, which is the size of the array behind the pointer.
    let rc = unsafe { libc::sched_setaffinity(0, size_of_val(&mask), mask.as_ptr().cast()) };
    if rc == 0 { Ok(()) } else { Err(BenchError::Pin { core, source: io::Error::last_os_error() }) }
}

#[cfg(test)]
mod tests {
    use super::pin_to_core;
    use crate::units::CoreId;

    #[test]
    fn a_core_that_is_not_there_is_an_error() {
        for core in [CoreId::LIMIT - 1, CoreId::LIMIT, u32::MAX] {
            assert!(pin_to_core(CoreId(core)).is_err(), "{core}");
        }
    }
}
