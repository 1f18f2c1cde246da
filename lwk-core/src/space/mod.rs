//! A program's address space: what Linux's memory calls do to it.
//!
//! Memory is mapped eagerly: when `mmap` returns, the frames are there, zeroed and in the page table, in
//! pages as large as can be. Only `PROT_NONE` memory has none until it is made accessible. Nothing is
//! overcommitted: a request that cannot be met now is `ENOMEM` now, and a call that fails has changed
//! nothing.
//!
//! [`AddressSpace`] keeps three things in step: the *areas* (what the program asked for), the page table (what the
//! processor grants) and, through [`Machine::log`], the proxy's mirror. Which parts of an area have frames is read
//! from the page table.

use core::ops::Range;

use margay_abi::Errno;
use margay_abi::layout::{PAGE, USER_END, USER_START};

use crate::align_up;
use crate::frames::Frames;
use crate::paging::{OutOfTables, PageFlags, PageTable, TableMemory};

mod advice;
mod area;
mod backing;
mod brk;
mod mmap;
mod mprotect;
mod mremap;

pub use area::{Area, Kind, Prot};
pub use mmap::MapFlags;

use area::Areas;
use brk::Heap;

/// What an address space needs of the machine.
pub trait Machine: TableMemory {
    /// The frames that the program's memory comes from.
    fn frames(&mut self) -> &mut Frames;
    /// Clears physical memory. `gpa` and `bytes` are multiples of 4 KiB.
    fn zero(&mut self, gpa: u64, bytes: u64);
    /// Flushes the TLB: translations were removed or changed.
    fn flush(&mut self);
    /// Tells the proxy of a change. Changes are told in order.
    fn log(&mut self, change: MapChange);
}

/// A change of the mappings, for the proxy. Protections are [`Prot::READ`] and [`Prot::WRITE`] only; without either
/// the memory is there, but calls must get `EFAULT` for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapChange {
    /// `[addr, addr + bytes)` shows `[gpa, gpa + bytes)`, whatever was there.
    Map {
        /// First address.
        addr: u64,
        /// Length.
        bytes: u64,
        /// First guest-physical address.
        gpa: u64,
        /// What may be done there.
        prot: Prot,
    },
    /// Nothing is at `[addr, addr + bytes)` any more.
    Unmap {
        /// First address.
        addr: u64,
        /// Length.
        bytes: u64,
    },
    /// `[addr, addr + bytes)`, mapped without holes, has another protection.
    Protect {
        /// First address.
        addr: u64,
        /// Length.
        bytes: u64,
        /// What may be done there.
        prot: Prot,
    },
}

/// A program's address space.
#[derive(Debug)]
pub struct AddressSpace<M> {
    machine: M,
    table: PageTable,
    areas: Areas,
    heap: Heap,
    /// `mmap` places memory below this.
    mmap_top: u64,
    used_bytes: u64,
    peak_bytes: u64,
}

impl<M: Machine> AddressSpace<M> {
    /// An empty address space over `table`. `mmap` will place memory below `mmap_top`.
    pub fn new(machine: M, table: PageTable, mmap_top: u64) -> Self {
        AddressSpace {
            machine,
            table,
            areas: Areas::default(),
            heap: Heap::default(),
            mmap_top,
            used_bytes: 0,
            peak_bytes: 0,
        }
    }

    /// The machine.
    pub fn machine(&mut self) -> &mut M {
        &mut self.machine
    }

    /// The page table and the memory it lies in, for the LWK's own mappings.
    pub fn table(&mut self) -> (&mut PageTable, &mut M) {
        (&mut self.table, &mut self.machine)
    }

    /// Bytes of frames that the program has, including the heap's that are mapped ahead.
    pub const fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// The most it ever had.
    pub const fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// The areas, in ascending order.
    pub fn areas(&self) -> impl DoubleEndedIterator<Item = &Area> {
        self.areas.iter()
    }

    /// The area that `addr` lies in.
    pub fn area_at(&self, addr: u64) -> Option<&Area> {
        self.areas.at(addr)
    }

    /// Counts a system call from `addr` that came through the slow entry. Returns the count for its area;
    /// `None` if no area is there or its calls have been rewritten already.
    pub fn count_escape(&mut self, addr: u64) -> Option<u32> {
        let area = self.areas.at_mut(addr).filter(|area| !area.rewritten)?;
        area.escapes = area.escapes.saturating_add(1);
        Some(area.escapes)
    }

    /// Notes that the system calls of the area at `addr` have been rewritten.
    pub fn mark_rewritten(&mut self, addr: u64) {
        if let Some(area) = self.areas.at_mut(addr) {
            area.rewritten = true;
        }
    }

    /// Whether the program may access all of `[addr, addr + bytes)` in the ways of `access`.
    pub fn is_mapped(&self, addr: u64, bytes: u64, access: Prot) -> bool {
        let Some(end) = addr.checked_add(bytes) else { return false };
        let range = addr..end;
        self.areas.covers(&range)
            && self.areas.overlapping(&range).all(|area| area.prot.effective().contains(access))
    }

    /// The guest-physical address of `addr` and the flags of its page; `None` where no frame is.
    pub fn translate(&self, addr: u64) -> Option<(u64, PageFlags)> {
        self.table.translate(&self.machine, addr)
    }

    /// A free place for `bytes`, all of it at most `reach` bytes away from all of `range`, for code that is
    /// reached by relative jumps: right below `range`, else as far above as can be, so that a heap there can
    /// grow.
    pub fn find_near(&self, range: &Range<u64>, bytes: u64, reach: u64) -> Option<u64> {
        let bytes = bytes.checked_next_multiple_of(PAGE)?;
        let low = align_up(range.end.saturating_sub(reach), PAGE)?.max(USER_START);
        let high = range.start.saturating_add(reach).min(USER_END);
        self.areas
            .highest_gap(bytes, PAGE, &(low..range.start))
            .or_else(|| self.areas.highest_gap(bytes, PAGE, &(range.end..high)))
    }
}

/// The flags of a program's page.
pub(crate) fn page_flags(prot: Prot) -> PageFlags {
    let mut flags = PageFlags::USER;
    flags.set(PageFlags::PRESENT, !prot.is_empty());
    flags.set(PageFlags::WRITE, prot.contains(Prot::WRITE));
    flags.set(PageFlags::NO_EXECUTE, !prot.contains(Prot::EXEC));
    flags
}

/// What the proxy may do with a page.
pub(crate) fn proxy_prot(flags: PageFlags) -> Prot {
    let mut prot = Prot::empty();
    prot.set(Prot::READ, flags.contains(PageFlags::PRESENT));
    prot.set(Prot::WRITE, flags.contains(PageFlags::PRESENT | PageFlags::WRITE));
    prot
}

impl From<OutOfTables> for Errno {
    fn from(_: OutOfTables) -> Errno {
        Errno::ENOMEM
    }
}

#[cfg(test)]
mod tests;
