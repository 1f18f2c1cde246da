//! A memfd mapped on large-page boundaries: the bottom of guest memory, and the only place that maps and unmaps it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;

use margay_abi::layout::{LARGE_PAGE, PAGE};

/// `MADV_COLLAPSE` (Linux 6.1, `include/uapi/asm-generic/mman-common.h`), which the libc crate does not name for musl.
const MADV_COLLAPSE: i32 = 25;

/// A memfd of `bytes` zeroes that cannot change its size: a proxy that is made to truncate it would otherwise take the VMM
/// down.
pub(crate) fn sealed_memfd(bytes: u64) -> io::Result<File> {
    // SAFETY: the name is a C string; the result is checked.
    let fd = unsafe {
        libc::memfd_create(c"margay-guest".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(bytes)?;
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: a valid descriptor; the call takes an integer.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } {
        0 => Ok(file),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A shared, writable mapping of the beginning of a file at a multiple of [`LARGE_PAGE`], so that large pages of the file can be
/// large in the mapping. Unmapped when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    reserved: *mut libc::c_void,
    start: *mut u8,
    bytes: u64,
}

// SAFETY: the pointers are to memory of the process, not of a thread, and only `drop` changes the mapping.
unsafe impl Send for Mapping {}
// SAFETY: as above; the methods that take `&self` make system calls on the range or return its address.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `bytes` of `file`.
    pub(crate) fn new(file: &File, bytes: u64) -> io::Result<Mapping> {
        let none = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let length = (bytes + LARGE_PAGE) as usize;
        // SAFETY: a new mapping where the kernel likes.
        let reserved = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_NONE, none, -1, 0) };
        if reserved == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = reserved.wrapping_byte_add(reserved.align_offset(LARGE_PAGE as usize));
        // From here on, so that the reservation goes if the second mapping fails.
        let mapping = Mapping { reserved, start: start.cast(), bytes };
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        // SAFETY: `start` is less than a large page above the reservation's start, so all `bytes` lie inside the
        // reservation, which nobody else uses.
        let mapped = unsafe { libc::mmap(start, bytes as usize, prot, flags, file.as_raw_fd(), 0) };
        match mapped {
            libc::MAP_FAILED => Err(io::Error::last_os_error()),
            _ => Ok(mapping),
        }
    }

    /// First byte.
    pub(crate) fn start(&self) -> *mut u8 {
        self.start
    }

    /// Gives a fresh mapping large pages: one touched page makes each 2 MiB known, `MADV_COLLAPSE` makes it large
    /// (madvise(2)), whatever `shmem_enabled` says.
    pub(crate) fn collapse(&self) -> io::Result<()> {
        for offset in (0..self.bytes).step_by(LARGE_PAGE as usize) {
            // A page that cannot be had would raise SIGBUS in a plain store, so the kernel is asked.
            self.advise(offset, PAGE, libc::MADV_POPULATE_WRITE)?;
        }
        self.advise(0, self.bytes, MADV_COLLAPSE)
    }

    /// Makes every page present.
    pub(crate) fn populate(&self) -> io::Result<()> {
        self.advise(0, self.bytes, libc::MADV_POPULATE_WRITE)
    }

    /// Locks the pages in memory. `false` where the process's limits forbid it.
    pub(crate) fn lock(&self) -> bool {
        // SAFETY: the range is this mapping's.
        unsafe { libc::mlock(self.start.cast(), self.bytes as usize) == 0 }
    }

    fn advise(&self, offset: u64, bytes: u64, advice: i32) -> io::Result<()> {
        let from = self.start.wrapping_byte_add(offset as usize);
        // SAFETY: the callers name parts of this mapping, and none of the advices used discards data.
        match unsafe { libc::madvise(from.cast(), bytes as usize, advice) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by `new` and is unmapped only here; its owner sees to it that nobody uses it any more.
        unsafe { libc::munmap(self.reserved, (self.bytes + LARGE_PAGE) as usize) };
    }
}
