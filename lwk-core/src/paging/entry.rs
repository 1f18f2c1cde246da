//! One entry of a page table.

use bitflags::bitflags;

use super::PageSize;

bitflags! {
    /// What a page allows. Bits as in an entry (SDM vol. 3, tables 4-15 to 4-20).
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct PageFlags: u64 {
        /// The page can be accessed. Without it the page only keeps its frame: `PROT_NONE`.
        const PRESENT = 1 << 0;
        /// It can be written.
        const WRITE = 1 << 1;
        /// It can be accessed at CPL 3.
        const USER = 1 << 2;
        /// Its translation survives a load of CR3.
        const GLOBAL = 1 << 8;
        /// The frame belongs to somebody else and is not to be freed with the page. Software's bit.
        const BORROWED = 1 << 10;
        /// It cannot be executed.
        const NO_EXECUTE = 1 << 63;
    }
}

/// Accessed and, in a leaf, dirty: always set, so that nobody has to set them later.
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
/// In an entry of a directory: it maps a page.
const PAGE_SIZE: u64 = 1 << 7;
/// Software's bit: an entry that is not present but keeps a frame.
const HELD: u64 = 1 << 9;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// An entry. Level 1 is a page table, 4 the root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry(pub(super) u64);

impl Entry {
    pub(super) const EMPTY: Entry = Entry(0);

    /// An entry of a table of `level` that maps a page.
    pub(super) const fn leaf(phys: u64, level: u32, flags: PageFlags) -> Entry {
        let size = if level > 1 { PAGE_SIZE } else { 0 };
        let kept = flags.bits() & PageFlags::BORROWED.bits();
        if flags.contains(PageFlags::PRESENT) {
            Entry(phys | size | flags.bits() | ACCESSED | DIRTY)
        } else {
            Entry(phys | size | kept | HELD)
        }
    }

    /// An entry that links the table at `gpa`. It allows everything; the leaf decides.
    pub(super) const fn link(gpa: u64) -> Entry {
        let open = PageFlags::PRESENT.union(PageFlags::WRITE).union(PageFlags::USER);
        Entry(gpa | open.bits() | ACCESSED)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The table that this entry, in a table of `level`, links.
    pub(super) const fn table(self, level: u32) -> Option<u64> {
        if level > 1 && self.0 & PageFlags::PRESENT.bits() != 0 && self.0 & PAGE_SIZE == 0 {
            Some(self.phys())
        } else {
            None
        }
    }

    pub(super) const fn phys(self) -> u64 {
        self.0 & ADDRESS
    }

    /// Flags of a leaf.
    pub(super) const fn flags(self) -> PageFlags {
        PageFlags::from_bits_truncate(self.0)
    }

    /// This leaf of a table of `level` with other flags. Whose frame it is does not change.
    pub(super) const fn with_flags(self, level: u32, flags: PageFlags) -> Entry {
        let borrowed = self.flags().intersection(PageFlags::BORROWED);
        Entry::leaf(self.phys(), level, flags.difference(PageFlags::BORROWED).union(borrowed))
    }

    /// The entry for `virt` in a table of `level` that says what this one, a leaf one level up or empty, says.
    pub(super) const fn split(self, level: u32, virt: u64) -> Entry {
        if self.is_empty() {
            return self;
        }
        let offset = virt % span(level + 1) / span(level) * span(level);
        Entry::leaf(self.phys() + offset, level, self.flags())
    }
}

/// Bytes that one entry of a table of `level` covers.
pub(super) const fn span(level: u32) -> u64 {
    1 << (12 + 9 * (level - 1))
}

impl PageSize {
    /// Whether an entry of a table of `level` may map a page, this being the largest size.
    pub(super) const fn allows(self, level: u32) -> bool {
        match self {
            PageSize::Base => level == 1,
            PageSize::Large => level <= 2,
            PageSize::Huge => level <= 3,
        }
    }
}
