//! Guest memory: one memfd, on large pages where the host can, all there before the guest starts.
//!
//! The pages are collapsed into large ones, populated and sealed here, so that a shortage is an error now, with its
//! remedy, and never a SIGBUS while the program runs. See `docs/architecture.md`, "One memory object".

mod mapping;

use std::fs::File;
use std::io;
use std::sync::Arc;

use thiserror::Error;
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap, GuestRegionMmap, MmapRegion};

use crate::config::PageChoice;

pub(crate) use mapping::{Mapping, sealed_memfd};

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

impl From<PageChoice> for PageRequest {
    fn from(choice: PageChoice) -> PageRequest {
        match choice {
            PageChoice::Auto => PageRequest::Auto,
            PageChoice::Large => PageRequest::Large,
            PageChoice::Small => PageRequest::Small,
        }
    }
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
    regions: Vec<Region>,
    // Taken only by `drop`.
    mapping: Option<Mapping>,
    bytes: u64,
    backing: Backing,
    locked: bool,
}

/// A piece of guest-physical address space with memory behind it.
#[derive(Clone, Debug)]
pub struct Region {
    /// Guest-physical address of its first byte.
    pub start: GuestAddress,
    /// Its memory in this process.
    pub mapping: Arc<MmapRegion>,
}

impl Region {
    /// Bytes.
    pub fn bytes(&self) -> u64 {
        self.mapping.size() as u64
    }

    /// First byte, in this process's addresses. For KVM.
    pub fn host_address(&self) -> u64 {
        self.mapping.as_ptr() as u64
    }
}

impl GuestMemory {
    /// Makes `bytes` (a multiple of [`margay_abi::layout::LARGE_PAGE`]) of zeroed guest memory at guest-physical address 0,
    /// resident and unable to shrink.
    ///
    /// # Errors
    /// [`MemoryError`] where the host has no such memory.
    pub fn new(bytes: u64, pages: PageRequest) -> Result<Self, MemoryError> {
        GuestMemory::with_regions(&[(GuestAddress(0), bytes)], pages)
    }

    /// Makes guest memory of several pieces, given by guest-physical address and size (multiples of a page, in ascending
    /// order, disjoint), that follow each other in one file.
    ///
    /// # Errors
    /// As [`GuestMemory::new`].
    pub fn with_regions(
        pieces: &[(GuestAddress, u64)],
        pages: PageRequest,
    ) -> Result<Self, MemoryError> {
        let bytes = pieces.iter().map(|(_, bytes)| bytes).sum();
        let failed = |what| move |source| MemoryError::System { what, bytes, source };
        let file = Arc::new(sealed_memfd(bytes).map_err(failed("create"))?);
        let mapping = Mapping::new(&file, bytes).map_err(failed("map"))?;

        let collapsed = match pages {
            PageRequest::Small => Ok(()),
            PageRequest::Auto | PageRequest::Large => mapping.collapse(),
        };
        let backing = match (collapsed, pages) {
            (Ok(()), PageRequest::Small) => Backing::Small,
            (Ok(()), _) => Backing::Large,
            (Err(source), PageRequest::Large) => {
                return Err(MemoryError::NoLargePages { bytes, source });
            }
            (Err(error), _) => Backing::Fallback(error.to_string()),
        };
        mapping.populate().map_err(failed("reserve"))?;
        let locked = mapping.lock();

        let regions = describe(&file, &mapping, pieces).map_err(failed("describe"))?;
        let mmap = collect(regions.iter().cloned())
            .map_err(|error| failed("describe")(io::Error::other(error.to_string())))?;
        Ok(GuestMemory { file, mmap, regions, mapping: Some(mapping), bytes, backing, locked })
    }

    /// The pieces of it, in ascending order.
    ///
    /// A clone keeps the memory mapped, even when this object is gone.
    pub fn regions(&self) -> &[Region] {
        &self.regions
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
        self.bytes
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
        self.regions[0].host_address()
    }

    /// A structure of the shared region, that this process and the guest use at the same time.
    ///
    /// # Panics
    /// If it does not lie in the first region, which starts at 0: the addresses are constants of the layout.
    pub fn shared<T: Shared>(&self, gpa: u64) -> &T {
        let region = &self.regions[0];
        assert!(
            region.start.0 == 0
                && gpa + size_of::<T>() as u64 <= region.bytes()
                && gpa.is_multiple_of(align_of::<T>() as u64)
        );
        // SAFETY: in bounds and aligned (checked; the mapping starts at a large page), initialized (zeroed at first), and made
        // of atomics only (`Shared`), so that writes of others are no data race. The mapping lives as long as `self`.
        unsafe { &*region.mapping.as_ptr().add(gpa as usize).cast::<T>() }
    }
}

/// Structures that several processes and the guest write at the same time: atomics throughout, any bits valid.
///
/// # Safety
/// The implementor is such a structure.
pub unsafe trait Shared {}

// SAFETY: atomics and padding that nobody reads.
unsafe impl Shared for margay_abi::channel::ChannelPage {}
// SAFETY: an atomic.
unsafe impl Shared for std::sync::atomic::AtomicU64 {}
// SAFETY: atomics throughout.
unsafe impl Shared for margay_abi::status::StatusPage {}
// SAFETY: atomics throughout.
unsafe impl Shared for margay_abi::stats::CallStats {}
// SAFETY: atomics throughout.
unsafe impl Shared for margay_abi::time::TimePage {}

/// Unmaps the memory, unless somebody still has a clone of [`GuestMemory::guest_memory`] or of a region: then it stays mapped,
/// because there is no telling when they are done.
impl Drop for GuestMemory {
    fn drop(&mut self) {
        self.mmap = GuestMemoryMmap::new();
        // `into_inner` gives the value to exactly one of several holders, so that there is no race between this question and a
        // clone on another thread. Every region is asked: none may keep its count.
        let mut others = 0;
        for region in std::mem::take(&mut self.regions) {
            others += usize::from(Arc::into_inner(region.mapping).is_none());
        }
        if others > 0 {
            std::mem::forget(self.mapping.take());
        }
    }
}

/// Cuts the mapping into guest regions.
fn describe(
    file: &Arc<File>,
    mapping: &Mapping,
    pieces: &[(GuestAddress, u64)],
) -> io::Result<Vec<Region>> {
    let mut offset = 0;
    let mut regions = Vec::with_capacity(pieces.len());
    for &(start, bytes) in pieces {
        let pointer = mapping.start().wrapping_byte_add(offset as usize);
        let builder = MmapRegionBuilder::new(bytes as usize)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(libc::MAP_SHARED)
            .with_file_offset(FileOffset::from_arc(Arc::clone(file), offset));
        // SAFETY: the pieces lie one after the other in a mapping of the sum of their lengths, made with these flags, which is
        // unmapped only when no holder of the region is left (`GuestMemory::drop`).
        let region = unsafe { builder.with_raw_mmap_pointer(pointer) }
            .build()
            .map_err(|error| io::Error::other(error.to_string()))?;
        regions.push(Region { start, mapping: Arc::new(region) });
        offset += bytes;
    }
    Ok(regions)
}

/// Guest memory made of `regions`, in ascending order, as the rust-vmm crates know it.
///
/// # Errors
/// Where the regions overlap, are not in order, or end past the last address.
pub fn collect(
    regions: impl Iterator<Item = Region>,
) -> Result<GuestMemoryMmap, vm_memory::GuestRegionCollectionError> {
    let mapped = regions.map(|region| {
        GuestRegionMmap::with_arc(region.mapping, region.start)
            .ok_or(vm_memory::GuestRegionCollectionError::MemoryRegionOverlap)
    });
    GuestMemoryMmap::from_regions(mapped.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests;
