//! All that the compiler cannot check: system calls, mappings, memory that is not Rust's.

mod memory;
mod signal;

pub use memory::{Shared, copy_in, copy_out, map, protect, unmap};
pub use signal::{
    block_all, die_by, exit, hold_back, is_ignored, parent_death_signal, send_to_self,
    set_disposition, set_parent_death_signal, signal_events, take_held_back,
};

use std::arch::asm;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, RawFd};

use crate::guard::Admitted;

/// Makes a delegated call. Returns what Linux returns: a result, or `-errno`.
#[inline]
pub fn call(call: &Admitted) -> u64 {
    let [a, b, c, d, e, f] = *call.args();
    let ret;
    // SAFETY: `Admitted` has passed the guard. The call is one that leaves the proxy's mappings and threads alone, its
    // pointers lead into the program's memory, where there are no Rust objects, or to a path that outlives the
    // call, and its descriptors are not the proxy's own. `syscall` itself changes only RAX, RCX and R11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") u64::from(call.nr()) => ret,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            in("r8") e,
            in("r9") f,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    ret
}

/// Takes over a descriptor that the proxy's maker has passed. Called once for each.
///
/// # Errors
/// `EBADF`: it is not open.
pub fn inherit(fd: RawFd) -> io::Result<File> {
    // SAFETY: asks for flags; no memory is involved, and any number is allowed.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is open, and was opened for this process alone: its maker passes it, and nothing here
    // calls `inherit` twice for one number.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Gives this thread a descriptor table of its own, with nothing in it but `kept`, in ascending order. The others keep what they
/// have: also their locks, which go with a table (fcntl(2)).
///
/// # Errors
/// Linux's. Closing needs Linux 5.9.
pub fn keep_only<const N: usize>(kept: [RawFd; N]) -> io::Result<()> {
    // SAFETY: takes an integer. Nothing is closed for other threads from here on.
    if unsafe { libc::unshare(libc::CLONE_FILES) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut first = 0;
    for next in kept.into_iter().chain([RawFd::MAX]) {
        if first < next {
            // SAFETY: takes integers. What is closed here is this thread's copy, of which nothing in it knows.
            let ret = unsafe { libc::syscall(libc::SYS_close_range, first, next - 1, 0) };
            if ret < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = next.saturating_add(1);
    }
    Ok(())
}

/// Waits until `files` are readable, or have ended, and says which are.
///
/// # Errors
/// Linux's; `Interrupted` does not happen in a thread that blocks all signals.
pub fn wait_readable<const N: usize>(files: [BorrowedFd<'_>; N]) -> io::Result<[bool; N]> {
    let mut polled =
        files.map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    // SAFETY: `N` live structures.
    let ret = unsafe { libc::poll(polled.as_mut_ptr(), N as libc::nfds_t, -1) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(polled.map(|fd| fd.revents != 0)) }
}

/// Whether a `read` of `file` waits until there is something to read.
pub fn is_blocking(file: &File) -> bool {
    // SAFETY: asks for flags of an open file; no memory is involved.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETFL) & libc::O_NONBLOCK == 0 }
}
