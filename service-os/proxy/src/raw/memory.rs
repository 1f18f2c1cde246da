//! Mappings of guest memory, and copies from and to it.

use std::arch::asm;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use margay_abi::channel::ChannelPage;
use margay_abi::layout::{CHANNEL_COUNT, CHANNELS, MAP_LOG, PAGE, SHARED, SHARED_BYTES};
use margay_abi::maplog::MapLog;

use crate::guest::GuestMemory;
use crate::range::{Prot, UserRange};

/// The memory that VMM, proxy and LWK all map, for the life of the process.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    base: *const u8,
}

impl Shared {
    /// Maps it, at an address of Linux's choice.
    ///
    /// # Errors
    /// It is too short to be an LWK's (`EINVAL`), or Linux refuses.
    pub fn map(memory: &GuestMemory) -> io::Result<Shared> {
        if memory.bytes() < SHARED + SHARED_BYTES {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address that Linux chooses takes nothing from anybody.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                SHARED_BYTES as usize,
                prot,
                libc::MAP_SHARED,
                memory.file().as_raw_fd(),
                SHARED as libc::off_t,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Shared { base: base.cast() })
    }

    /// Channel number `index`.
    ///
    /// # Panics
    /// There is no such channel.
    pub fn channel(self, index: u64) -> &'static ChannelPage {
        assert!(index < CHANNEL_COUNT, "the LWK has {CHANNEL_COUNT} channels");
        // SAFETY: the page lies inside the mapping (`abi::layout` asserts it), which is never unmapped, on a page
        // boundary. It is made of atomic integers, which others may write at any time and which hold any value.
        unsafe { &*self.base.add((CHANNELS + index * PAGE - SHARED) as usize).cast() }
    }

    /// The map log.
    pub fn map_log(self) -> &'static MapLog {
        // SAFETY: as for a channel; what is not atomic in the log is padding that nobody reads.
        unsafe { &*self.base.add((MAP_LOG - SHARED) as usize).cast() }
    }
}

/// Shows guest memory from `gpa` on at `range`, replacing what was there. `gpa` is a page address.
///
/// # Errors
/// Linux's.
pub fn map(range: UserRange, prot: Prot, memory: &File, gpa: u64) -> io::Result<()> {
    // SAFETY: replaces only what lies in a `UserRange`, where no Rust object is.
    let at = unsafe {
        libc::mmap(
            range.start() as *mut libc::c_void,
            range.len() as usize,
            prot.bits(),
            libc::MAP_SHARED | libc::MAP_FIXED,
            memory.as_raw_fd(),
            gpa as libc::off_t,
        )
    };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Leaves nothing at `range`.
///
/// # Errors
/// Linux's.
pub fn unmap(range: UserRange) -> io::Result<()> {
    // SAFETY: removes only what lies in a `UserRange`, where no Rust object is.
    let ret = unsafe { libc::munmap(range.start() as *mut libc::c_void, range.len() as usize) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Changes the protection of `range`, all of which is mapped.
///
/// # Errors
/// Linux's.
pub fn protect(range: UserRange, prot: Prot) -> io::Result<()> {
    let (start, len) = (range.start() as *mut libc::c_void, range.len() as usize);
    // SAFETY: concerns only what lies in a `UserRange`, where no Rust object is.
    let ret = unsafe { libc::mprotect(start, len, prot.bits()) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Copies from the program's memory.
///
/// # Safety
/// All of `[from, from + to.len())` is mapped readable and below `USER_END`.
pub unsafe fn copy_in(from: u64, to: &mut [u8]) {
    // SAFETY: the caller's; `to` is a live slice, and both lie apart: nothing of Rust's is below `USER_END`.
    unsafe { copy(from as *const u8, to.as_mut_ptr(), to.len()) }
}

/// Copies to the program's memory.
///
/// # Safety
/// All of `[to, to + from.len())` is mapped writable and below `USER_END`.
pub unsafe fn copy_out(from: &[u8], to: u64) {
    // SAFETY: the caller's; `from` is a live slice, and both lie apart: nothing of Rust's is below `USER_END`.
    unsafe { copy(from.as_ptr(), to as *mut u8, from.len()) }
}

/// Copies bytes that the program may be writing at the same time: as an instruction, not as Rust code, for which that would
/// be a data race.
///
/// # Safety
/// `len` bytes are readable at `from` and writable at `to`, and they do not overlap.
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: reads and writes what the caller vouches for; the direction flag is clear by the ABI.
    unsafe {
        asm!(
            "rep movsb",
            inout("rcx") len => _,
            inout("rsi") from => _,
            inout("rdi") to => _,
            options(nostack, preserves_flags),
        );
    }
}
