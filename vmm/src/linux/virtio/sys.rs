//! System calls of the devices that the standard library does not have.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Makes reads and writes of the open file return EAGAIN where they would wait.
pub(super) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: reads and sets flags of a descriptor that the caller has open; no memory is involved.
    let rc = unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        if flags < 0 {
            flags
        } else {
            libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
        }
    };
    check(rc)
}

/// How a file is locked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lock {
    /// Others may have this lock too.
    Shared,
    /// Nobody else has any.
    Exclusive,
}

/// Locks an open file until its last descriptor is closed (`flock(2)`), or says EWOULDBLOCK.
pub(super) fn lock(fd: BorrowedFd<'_>, lock: Lock) -> io::Result<()> {
    let operation = match lock {
        Lock::Shared => libc::LOCK_SH,
        Lock::Exclusive => libc::LOCK_EX,
    };
    // SAFETY: takes no memory, and a descriptor that the caller has open.
    check(unsafe { libc::flock(fd.as_raw_fd(), operation | libc::LOCK_NB) })
}

/// Whether a network interface of this name exists in this network namespace.
pub(super) fn interface_exists(name: &str) -> bool {
    // A name with NUL names nothing.
    let Ok(name) = CString::new(name) else { return false };
    // SAFETY: the name is a NUL-terminated string that outlives the call, which only reads it.
    unsafe { libc::if_nametoindex(name.as_ptr()) != 0 }
}

/// Makes an open `/dev/net/tun` the tap interface `name`, with a virtio header of `header_len` bytes before each frame and
/// no offloads: every frame is whole and has its checksum. `name` is shorter than `IFNAMSIZ`.
pub(super) fn attach_tap(
    fd: BorrowedFd<'_>,
    name: &str,
    header_len: libc::c_int,
) -> io::Result<()> {
    // SAFETY: zero is a valid value of the structure of integers, arrays and a union of such.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags =
        (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq, which the pointer is to.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF as _, &mut request) })?;
    // SAFETY: TUNSETVNETHDRSZ reads one int, which the pointer is to.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ as _, &header_len) })?;
    // SAFETY: TUNSETOFFLOAD takes a number, no pointer.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD as _, 0 as libc::c_ulong) })
}

fn check(rc: libc::c_int) -> io::Result<()> {
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
