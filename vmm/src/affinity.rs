//! Binding threads to cores.

use std::io;

use crate::units::CoreId;

type Mask = [u64; CoreId::LIMIT as usize / 64];

/// Binds the calling thread, and what it starts from now on, to `cores`.
///
/// # Errors
/// `EINVAL` if none of them is there and allowed.
pub fn bind(cores: impl IntoIterator<Item = CoreId>) -> io::Result<()> {
    let mut mask: Mask = [0; _];
    for core in cores {
        let word = mask.get_mut(core.0 as usize / 64).ok_or(io::ErrorKind::InvalidInput)?;
        *word |= 1 << (core.0 % 64);
    }
    set(&mask)
}

/// Whether a thread can be bound to `core`.
///
/// # Errors
/// As [`bind`].
pub fn check(core: CoreId) -> io::Result<()> {
    let before = get()?;
    bind([core])?;
    set(&before)
}

fn get() -> io::Result<Mask> {
    let mut mask: Mask = [0; _];
    // SAFETY: the kernel writes at most the given number of bytes, the size of the array.
    match unsafe { libc::sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr().cast()) } {
        0 => Ok(mask),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set(mask: &Mask) -> io::Result<()> {
    // SAFETY: the kernel reads the given number of bytes, the size of the array.
    match unsafe { libc::sched_setaffinity(0, size_of_val(mask), mask.as_ptr().cast()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
