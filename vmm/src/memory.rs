//! Guest memory: one memfd, on large pages where the host can, all there before the guest starts.
//!
//! The pages are collapsed into large ones, populated and sealed here, so that a shortage is an error now, with its
//! remedy, and never a SIGBUS while the program runs. See `docs/architecture.md`, "One memory object".

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::Arc;

use margay_abi::layout::{LARGE_PAGE, PAGE};
use thiserror::Error;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

/// What page size guest memory must or may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PageRequest {
    /// Large pages if the host gives them.
    Auto,
    /// Large pages, or an error.
    Large,
    /// Base pages.
    Small,
}

/// What page size guest memory has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Backing {
    /// 2 MiB throughout.
    Large,
    /// 4 KiB, because the node file asks for it.
    Small,
    /// 4 KiB, because the host did not give larger ones: the reason.
    Fallback(String),
}

/// Why guest memory cannot be had.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// A system call failed.
    #[error("cannot {what} guest memory of {} MiB: {source}", bytes >> 20)]
    System {
        /// What was tried.
        what: &'static str,
        /// Bytes asked for.
        bytes: u64,
        /// Why not.
        source: io::Error,
    },
    /// Large pages were required.
    #[error(
        "the host has no large pages for guest memory of {} MiB: {source}; \
         free memory (`echo 1 > /proc/sys/vm/compact_memory` as root may help) or say pages = \"auto\"",
        bytes >> 20
    )]
    NoLargePages {
        /// Bytes asked for.
        bytes: u64,
        /// Why not.
        source: io::Error,
    },
}

/// The guest's memory, mapped in this process.
#[derive(Debug)]
pub struct GuestMemory {
    file: Arc<File>,
    mmap: GuestMemoryMmap,
    region: Arc<MmapRegion>,
    backing: Backing,
    locked: bool,
}

impl GuestMemory {
    /// Makes `bytes` (a multiple of [`LARGE_PAGE`]) of zeroed guest memory, resident and unable to shrink.
    pub fn new(bytes: u64, pages: PageRequest) -> Result<Self, MemoryError> {
        let failed = |what| move |source| MemoryError::System { what, bytes, source };
        let file = Arc::new(sealed_memfd(bytes).map_err(failed("create"))?);
        let pointer = map_aligned(&file, bytes).map_err(failed("map"))?;

        let collapsed = match pages {
            PageRequest::Small => Ok(()),
            PageRequest::Auto | PageRequest::Large => collapse(pointer, bytes),
        };
        let backing = match (collapsed, pages) {
            (Ok(()), PageRequest::Small) => Backing::Small,
            (Ok(()), _) => Backing::Large,
            (Err(source), PageRequest::Large) => {
                return Err(MemoryError::NoLargePages { bytes, source });
            }
            (Err(error), _) => Backing::Fallback(error.to_string()),
        };
        advise(pointer, bytes, libc::MADV_POPULATE_WRITE).map_err(failed("reserve"))?;
        // SAFETY: the range is the mapping made above.
        let locked = unsafe { libc::mlock(pointer.cast(), bytes as usize) } == 0;

        let builder = MmapRegionBuilder::new(bytes as usize)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(libc::MAP_SHARED)
            .with_file_offset(FileOffset::from_arc(Arc::clone(&file), 0));
        // SAFETY: the pointer is a mapping of `bytes` bytes with these flags; it is not unmapped while this process lives,
        // and this process ends with its guest.
        let region = unsafe { builder.with_raw_mmap_pointer(pointer) }
            .build()
            .map_err(|e| failed("describe")(io::Error::other(e.to_string())))?;
        let region = Arc::new(region);
        let mapped = GuestRegionMmap::with_arc(Arc::clone(&region), GuestAddress(0))
            .expect("a region that starts at 0 does not overflow");
        let mmap =
            GuestMemoryMmap::from_regions(vec![mapped]).expect("one region cannot overlap another");
        Ok(GuestMemory { file, mmap, region, backing, locked })
    }

    /// The memfd.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The memory as the rust-vmm crates know it.
    pub fn guest_memory(&self) -> &GuestMemoryMmap {
        &self.mmap
    }

    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.region.size() as u64
    }

    /// Page size of the memory.
    pub fn backing(&self) -> &Backing {
        &self.backing
    }

    /// Whether the memory is locked: it stays resident whatever else the host does.
    pub fn locked(&self) -> bool {
        self.locked
    }

    /// First byte, in this process's addresses. For KVM.
    pub fn host_address(&self) -> u64 {
        self.region.as_ptr() as u64
    }

    /// A structure of the shared region, that this process and the guest use at the same time.
    ///
    /// # Panics
    /// If it does not lie in guest memory: the addresses are constants of the layout.
    pub fn shared<T: Shared>(&self, gpa: u64) -> &T {
        assert!(
            gpa + size_of::<T>() as u64 <= self.bytes()
                && gpa.is_multiple_of(align_of::<T>() as u64)
        );
        // SAFETY: in bounds and aligned (checked; the mapping starts at a large page), initialized (zeroed at first), and made
        // of atomics only (`Shared`), so that writes of others are no data race. The mapping outlives `self`.
        unsafe { &*self.region.as_ptr().add(gpa as usize).cast::<T>() }
    }
}

/// Structures that several processes and the guest write at the same time: atomics throughout, any bits valid.
///
/// # Safety
/// The implementor is such a structure.
pub unsafe trait Shared {}

// SAFETY: atomics and padding that nobody reads.
unsafe impl Shared for margay_abi::channel::ChannelPage {}
// SAFETY: atomics throughout.
unsafe impl Shared for margay_abi::status::StatusPage {}
// SAFETY: atomics throughout.
unsafe impl Shared for margay_abi::stats::CallStats {}
// SAFETY: atomics throughout.
unsafe impl Shared for margay_abi::time::TimePage {}

/// A memfd that cannot change its size: a proxy that is made to truncate it would otherwise take the VMM down.
fn sealed_memfd(bytes: u64) -> io::Result<File> {
    // SAFETY: the name is a C string; the result is checked.
    let fd = unsafe {
        libc::memfd_create(c"margay-lwk".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
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

/// Maps `file` at a multiple of the large page, so that large pages of the file can be large in the mapping.
fn map_aligned(file: &File, bytes: u64) -> io::Result<*mut u8> {
    let reserved = bytes + LARGE_PAGE;
    // SAFETY: a new mapping where the kernel likes.
    let base = unsafe {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        libc::mmap(std::ptr::null_mut(), reserved as usize, libc::PROT_NONE, flags, -1, 0)
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let aligned = (base as u64).next_multiple_of(LARGE_PAGE);
    // SAFETY: `[aligned, aligned + bytes)` lies in the reservation made above, which nobody else uses.
    let mapped = unsafe {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        libc::mmap(aligned as *mut _, bytes as usize, prot, flags, file.as_raw_fd(), 0)
    };
    if mapped == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(mapped.cast())
}

/// Gives a fresh mapping large pages: one touched page makes each 2 MiB known, `MADV_COLLAPSE` makes it large (Linux 6.1,
/// madvise(2)), whatever `shmem_enabled` says.
fn collapse(pointer: *mut u8, bytes: u64) -> io::Result<()> {
    for offset in (0..bytes).step_by(LARGE_PAGE as usize) {
        // SAFETY: inside the mapping; a page that cannot be had would raise SIGBUS in a plain store, so the kernel is asked.
        advise(unsafe { pointer.add(offset as usize) }, PAGE, libc::MADV_POPULATE_WRITE)?;
    }
    advise(pointer, bytes, MADV_COLLAPSE)
}

/// `MADV_COLLAPSE`, which the libc crate does not name for musl.
const MADV_COLLAPSE: i32 = 25;

fn advise(pointer: *mut u8, bytes: u64, advice: i32) -> io::Result<()> {
    // SAFETY: the callers pass parts of the guest-memory mapping, and none of the advices used discards data.
    match unsafe { libc::madvise(pointer.cast(), bytes as usize, advice) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
