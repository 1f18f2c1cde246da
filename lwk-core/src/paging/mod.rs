//! x86-64 page tables: four levels, pages of 4 KiB, 2 MiB and 1 GiB (Intel SDM vol. 3, section 4.5).
//!
//! What makes this different from the usual code is the cost of a write. A KVM without hardware support
//! shadows the guest's tables and traps every write to one that is in use, some 8 us each. So a *live* table
//! is written as rarely as can be: new tables are filled completely before the one write that links them, an
//! entry that keeps its value is not written, and a table that becomes empty is unlinked with one write
//! instead of being cleared. Accessed and dirty bits are set from the start, so that neither the processor
//! nor a shadowing host has to.
//!
//! A failed change leaves everything as it was: the tables that it may need are set aside beforehand.

use core::ops::Range;

mod edit;
mod entry;
mod table;

pub use entry::PageFlags;
pub use table::PageTable;

pub(crate) use edit::Edit;
pub(crate) use table::{SPLIT_TABLES, span_of};

/// The memory that page tables lie in, and where new ones come from.
pub trait TableMemory {
    /// The entry at the physical address `entry_gpa`.
    fn read(&self, entry_gpa: u64) -> u64;
    /// Writes the entry at the physical address `entry_gpa`.
    fn write(&mut self, entry_gpa: u64, value: u64);
    /// A zeroed table of 4 KiB, or `None` when there is no memory.
    fn alloc_table(&mut self) -> Option<u64>;
    /// Takes back a table that is no longer linked. It need not be zero.
    fn free_table(&mut self, gpa: u64);
}

/// No memory for page tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no memory for page tables: give the partition more memory")]
pub struct OutOfTables;

/// The sizes of a page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum PageSize {
    /// 4 KiB.
    Base,
    /// 2 MiB.
    Large,
    /// 1 GiB; a processor may lack it (CPUID 8000_0001h, EDX bit 26).
    Huge,
}

/// A piece of virtual memory that is contiguous in physical memory too and has the same flags throughout.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// First virtual address.
    pub virt: u64,
    /// First physical address.
    pub phys: u64,
    /// Length.
    pub bytes: u64,
    /// Flags of the pages.
    pub flags: PageFlags,
}

impl Extent {
    /// The virtual addresses.
    pub const fn range(&self) -> Range<u64> {
        self.virt..self.virt + self.bytes
    }
}

#[cfg(test)]
pub(crate) mod tests;
