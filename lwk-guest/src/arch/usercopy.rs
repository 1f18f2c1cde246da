//! Copies between the LWK and the program's memory, which the program may name wrongly.
//!
//! A fault inside the copying instructions is not the LWK's: [`resume_at`] tells the fault handler to go on at the
//! copy's end, which then finds bytes left over. The range is checked first: in fused mode the LWK's own memory is as
//! accessible as the program's.

use core::arch::global_asm;

use margay_abi::{Errno, layout};

global_asm!(
    r#"
    .section .text
    # rdi = destination, rsi = source, rdx = bytes. Returns the bytes not copied.
    .globl user_copy, user_copy_move, user_copy_end
user_copy:
    mov rcx, rdx
user_copy_move:
    rep movsb
user_copy_end:
    mov rax, rcx
    ret
    "#
);

unsafe extern "C" {
    fn user_copy(to: *mut u8, from: *const u8, bytes: usize) -> usize;
    fn user_copy_move();
    fn user_copy_end();
}

/// Where to go on after a fault at `rip`, if that was in a copy.
pub fn resume_at(rip: u64) -> Option<u64> {
    (rip == user_copy_move as *const () as u64).then_some(user_copy_end as *const () as u64)
}

/// Checks that `[addr, addr + bytes)` is in the range of program addresses.
fn check(addr: u64, bytes: usize) -> Result<(), Errno> {
    match addr.checked_add(bytes as u64) {
        Some(end) if end <= layout::USER_END => Ok(()),
        _ => Err(Errno::EFAULT),
    }
}

/// Types that are plain bytes: every bit pattern is a value, and there is no padding.
///
/// # Safety
/// The implementor is such a type.
pub unsafe trait Plain: Copy {}

// SAFETY: integers are plain bytes.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for i64 {}
// SAFETY: `repr(C)` of integers, whose size the ABI asserts to be that of its fields.
unsafe impl Plain for margay_abi::rewrite::PlanHeader {}
// SAFETY: as above.
unsafe impl Plain for margay_abi::rewrite::Patch {}
// SAFETY: an array has no padding of its own.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Reads a value at the program's address `addr`. `EFAULT` where that is not readable.
pub fn read<T: Plain>(addr: u64) -> Result<T, Errno> {
    check(addr, size_of::<T>())?;
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the destination is ours; the source is in the program's range, and a fault there ends the copy.
    let left = unsafe { user_copy(value.as_mut_ptr().cast(), addr as *const u8, size_of::<T>()) };
    // SAFETY: nothing is left over, so all bytes are written, and any bytes are a `T` (`Plain`).
    if left == 0 { Ok(unsafe { value.assume_init() }) } else { Err(Errno::EFAULT) }
}

/// Writes `value` to the program's address `addr`. `EFAULT` where that is not writable; some bytes may be written.
pub fn write<T: Plain>(addr: u64, value: T) -> Result<(), Errno> {
    check(addr, size_of::<T>())?;
    // SAFETY: the source is ours; the destination is in the program's range, and a fault there ends the copy.
    let left = unsafe { user_copy(addr as *mut u8, (&raw const value).cast(), size_of::<T>()) };
    if left == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Reads `bytes.len()` bytes at the program's address `addr`, as [`read`].
pub fn read_bytes(addr: u64, bytes: &mut [u8]) -> Result<(), Errno> {
    check(addr, bytes.len())?;
    // SAFETY: as in `read`.
    let left = unsafe { user_copy(bytes.as_mut_ptr(), addr as *const u8, bytes.len()) };
    if left == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Writes `bytes` to the program's address `addr`, as [`fn@write`].
pub fn write_bytes(addr: u64, bytes: &[u8]) -> Result<(), Errno> {
    check(addr, bytes.len())?;
    // SAFETY: as in `write`.
    let left = unsafe { user_copy(addr as *mut u8, bytes.as_ptr(), bytes.len()) };
    if left == 0 { Ok(()) } else { Err(Errno::EFAULT) }
}
