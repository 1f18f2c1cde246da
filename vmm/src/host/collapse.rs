//! Tries whether a memfd gets 2 MiB pages, in the way that guest memory will ask for them.
//!
//! The settings of `/sys/kernel/mm/transparent_hugepage` do not tell: `MADV_COLLAPSE` (Linux 6.1, `madvise(2)`) works even where
//! they say `never`, and fails where the memory is too fragmented. So take two large pages, collapse them, and look at
//! how they are mapped.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;

use margay_abi::layout::LARGE_PAGE;

/// `include/uapi/asm-generic/mman-common.h`.
const MADV_COLLAPSE: libc::c_int = 25;
/// Bytes to try with.
const TRIED: usize = 2 * LARGE_PAGE as usize;

/// Why there are no 2 MiB pages.
#[derive(Debug, thiserror::Error)]
pub(super) enum CollapseError {
    /// No memory to try with.
    #[error("cannot get memory to try with: {0}")]
    NoMemory(#[source] io::Error),
    /// The kernel does not know the request.
    #[error("this kernel has no MADV_COLLAPSE for shared memory (Linux 6.1 or newer has)")]
    Unsupported,
    /// The kernel tried and failed.
    #[error("MADV_COLLAPSE failed: {0}")]
    Failed(#[source] io::Error),
    /// It said yes, and the pages are small.
    #[error("MADV_COLLAPSE reports success, but the memory is not mapped by large pages")]
    Pretended,
}

/// Collapses some memory and checks the outcome. About a millisecond.
pub(super) fn try_collapse() -> Result<(), CollapseError> {
    let memory = Memory::new().map_err(CollapseError::NoMemory)?;
    memory.touch();
    memory.collapse().map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL) => CollapseError::Unsupported,
        _ => CollapseError::Failed(error),
    })?;
    if memory.large_bytes() >= LARGE_PAGE { Ok(()) } else { Err(CollapseError::Pretended) }
}

/// `TRIED` bytes of a memfd at a multiple of a large page, inside a reservation one large page longer.
struct Memory {
    reserved: *mut libc::c_void,
    start: *mut libc::c_void,
}

const RESERVED: usize = TRIED + LARGE_PAGE as usize;

impl Memory {
    fn new() -> io::Result<Memory> {
        // SAFETY: the name is a NUL-terminated string; the call has no other effect than a new descriptor.
        let fd = unsafe { libc::memfd_create(c"margay-probe".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just made and nobody else has it.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(TRIED as u64)?;
        let none = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping at an address that the kernel chooses touches no existing memory.
        let reserved =
            unsafe { libc::mmap(ptr::null_mut(), RESERVED, libc::PROT_NONE, none, -1, 0) };
        if reserved == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = reserved.wrapping_byte_add(reserved.align_offset(LARGE_PAGE as usize));
        let memory = Memory { reserved, start };
        let (prot, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_FIXED);
        // SAFETY: `start` is less than a large page above the reservation's start, so all `TRIED` bytes lie inside the
        // reservation, which is ours alone and which nothing points into.
        let mapped = unsafe { libc::mmap(start, TRIED, prot, flags, file.as_raw_fd(), 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(memory)
    }

    /// Writes one byte in each large page: a range without any page cannot be collapsed.
    fn touch(&self) {
        for at in (0..TRIED).step_by(LARGE_PAGE as usize) {
            // SAFETY: `at` is inside the mapping of `TRIED` writable bytes, which lives as long as `self`.
            unsafe { self.start.cast::<u8>().add(at).write_volatile(1) };
        }
    }

    fn collapse(&self) -> io::Result<()> {
        // SAFETY: the range is our mapping; a collapse changes how it is mapped, not what it holds.
        let rc = unsafe { libc::madvise(self.start, TRIED, MADV_COLLAPSE) };
        if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Bytes of the mapping that page tables map by large pages, from `/proc/self/smaps` (`proc(5)`).
    fn large_bytes(&self) -> u64 {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let head = format!("{:x}-", self.start.addr());
        let fields = smaps.lines().skip_while(|line| !line.starts_with(&head));
        let kib = fields
            .filter_map(|line| line.strip_prefix("ShmemPmdMapped:"))
            .next()
            .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) << 10
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new`, is unmapped only here, and no pointer into it is left.
        unsafe { libc::munmap(self.reserved, RESERVED) };
    }
}
