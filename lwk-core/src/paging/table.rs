//! The tree of tables.

use core::ops::Range;

use alloc::vec::Vec;

use super::edit::{Edit, Step, parts};
use super::entry::{Entry, PageFlags, span};
use super::{Extent, OutOfTables, PageSize, TableMemory};

const ROOT_LEVEL: u32 = 4;
/// Spare tables to keep between changes; more go back.
const SPARE_TABLES: usize = 8;
/// The most tables that a change inside mapped memory needs: at each of its two ends a 1 GiB page may become
/// 2 MiB pages and one of those 4 KiB pages.
pub(crate) const SPLIT_TABLES: usize = 4;

/// A four-level page table.
///
/// Ranges are multiples of 4 KiB, do not wrap, and do not reach across the hole between the canonical halves.
#[derive(Debug)]
pub struct PageTable {
    root: u64,
    largest: PageSize,
    /// Zeroed tables, set aside.
    spare: Vec<u64>,
    /// The processor may remember what is no longer so.
    stale: bool,
}

/// What the entries of a table are, for a table that may not exist yet.
#[derive(Clone, Copy)]
enum Source {
    Table(u64),
    /// The parts of one larger page, or nothing.
    Uniform(Entry),
}

impl PageTable {
    /// The page table whose root table is at `root`, with pages up to `largest`.
    pub const fn new(root: u64, largest: PageSize) -> PageTable {
        PageTable { root, largest, spare: Vec::new(), stale: false }
    }

    /// Physical address of the root table, for CR3.
    pub const fn root(&self) -> u64 {
        self.root
    }

    /// Whether the TLB must be flushed since the last call: something that the processor may have cached was
    /// changed or removed. Until the flush, frames that were unmapped must not be used for anything else.
    pub const fn take_stale(&mut self) -> bool {
        core::mem::replace(&mut self.stale, false)
    }

    /// Maps an extent with the largest pages that alignment permits. Whatever was mapped there is replaced;
    /// its frames are the caller's business.
    ///
    /// # Errors
    /// [`OutOfTables`]; nothing is changed.
    pub fn map(
        &mut self,
        memory: &mut impl TableMemory,
        extent: Extent,
    ) -> Result<(), OutOfTables> {
        let extents = [extent];
        self.reserve(memory, self.demand(memory, &extents))?;
        self.edit(memory, extent.range(), Edit::Map(&extents));
        self.trim(memory);
        Ok(())
    }

    /// Removes the pages of `range`; holes are no error. Tables that become empty are freed.
    ///
    /// # Errors
    /// [`OutOfTables`], when a large page must be split; nothing is changed.
    pub fn unmap(
        &mut self,
        memory: &mut impl TableMemory,
        range: Range<u64>,
    ) -> Result<(), OutOfTables> {
        self.reserve(memory, SPLIT_TABLES)?;
        self.edit(memory, range, Edit::Clear);
        self.trim(memory);
        Ok(())
    }

    /// Gives the pages of `range` other flags; holes stay holes. Without [`PageFlags::PRESENT`] the pages keep their
    /// frames but cannot be accessed.
    ///
    /// # Errors
    /// [`OutOfTables`], when a large page must be split; nothing is changed.
    pub fn protect(
        &mut self,
        memory: &mut impl TableMemory,
        range: Range<u64>,
        flags: PageFlags,
    ) -> Result<(), OutOfTables> {
        self.reserve(memory, SPLIT_TABLES)?;
        self.edit(memory, range, Edit::Protect(flags));
        self.trim(memory);
        Ok(())
    }

    /// Moves the pages of `range` to the addresses from `to` on, which do not overlap it.
    ///
    /// # Errors
    /// [`OutOfTables`]; nothing is changed.
    pub fn move_range(
        &mut self,
        memory: &mut impl TableMemory,
        range: Range<u64>,
        to: u64,
    ) -> Result<(), OutOfTables> {
        let mut moved = Vec::new();
        let mut rest = range.clone();
        while let Some(extent) = self.next_extent(memory, &mut rest) {
            moved.try_reserve(1).map_err(|_| OutOfTables)?;
            moved.push(Extent { virt: to + (extent.virt - range.start), ..extent });
        }
        self.reserve(memory, self.demand(memory, &moved) + SPLIT_TABLES)?;
        self.edit(memory, to..to + (range.end - range.start), Edit::Map(&moved));
        self.edit(memory, range, Edit::Clear);
        self.trim(memory);
        Ok(())
    }

    /// The physical address and the flags of `virt`; `None` where no page is.
    pub fn translate(&self, memory: &impl TableMemory, virt: u64) -> Option<(u64, PageFlags)> {
        let (entry, level) = self.walk(memory, virt);
        (!entry.is_empty()).then(|| (entry.phys() + virt % span(level), entry.flags()))
    }

    /// The first extent in `rest`, which becomes what lies after it. Pages without [`PageFlags::PRESENT`] count too.
    pub fn next_extent(&self, memory: &impl TableMemory, rest: &mut Range<u64>) -> Option<Extent> {
        let mut found: Option<Extent> = None;
        while rest.start < rest.end {
            let (entry, level) = self.walk(memory, rest.start);
            let offset = rest.start % span(level);
            let end = rest.start.saturating_add(span(level) - offset).min(rest.end);
            let next = Extent {
                virt: rest.start,
                phys: entry.phys() + offset,
                bytes: end - rest.start,
                flags: entry.flags(),
            };
            match &mut found {
                None if entry.is_empty() => {}
                None => found = Some(next),
                Some(extent) if !entry.is_empty() && extent.continues_in(&next) => {
                    extent.bytes += next.bytes;
                }
                Some(_) => break,
            }
            rest.start = end;
        }
        found
    }

    /// The most tables that mapping `extents`, which ascend, will need.
    pub(crate) fn demand(&self, memory: &impl TableMemory, extents: &[Extent]) -> usize {
        let source = Source::Table(self.root);
        self.count(memory, source, ROOT_LEVEL, span_of(extents), Edit::Map(extents))
    }

    /// The tables that mapping `extents` would need if there were none yet.
    pub(crate) fn demand_anew(&self, memory: &impl TableMemory, extents: &[Extent]) -> usize {
        let source = Source::Uniform(Entry::EMPTY);
        self.count(memory, source, ROOT_LEVEL, span_of(extents), Edit::Map(extents))
    }

    /// Sets `tables` tables aside for the changes to come.
    pub(crate) fn reserve(
        &mut self,
        memory: &mut impl TableMemory,
        tables: usize,
    ) -> Result<(), OutOfTables> {
        let missing = tables.saturating_sub(self.spare.len());
        self.spare.try_reserve(missing).map_err(|_| OutOfTables)?;
        for _ in 0..missing {
            match memory.alloc_table() {
                Some(table) => self.spare.push(table),
                None => {
                    self.trim(memory);
                    return Err(OutOfTables);
                }
            }
        }
        Ok(())
    }

    /// Gives back the tables that were set aside but not needed, save a few.
    pub(crate) fn trim(&mut self, memory: &mut impl TableMemory) {
        for table in self.spare.drain(self.spare.len().min(SPARE_TABLES)..) {
            memory.free_table(table);
        }
    }

    /// Makes a change for which enough tables are set aside.
    pub(crate) fn edit(
        &mut self,
        memory: &mut impl TableMemory,
        range: Range<u64>,
        edit: Edit<'_>,
    ) {
        self.edit_table(memory, self.root, ROOT_LEVEL, range, edit);
    }

    fn edit_table(
        &mut self,
        memory: &mut impl TableMemory,
        table: u64,
        level: u32,
        range: Range<u64>,
        edit: Edit<'_>,
    ) {
        for part in parts(range, level) {
            let slot = table + Self::slot(part.start, level);
            let old = Entry(memory.read(slot));
            match edit.step(old, level, &part, self.largest) {
                Step::Keep => {}
                Step::Write(new) => self.replace(memory, slot, level, new),
                Step::Descend => match old.table(level) {
                    Some(child)
                        if edit.is_clear() && is_inside(memory, child, level - 1, &part) =>
                    {
                        self.replace(memory, slot, level, Entry::EMPTY);
                    }
                    Some(child) => {
                        let below = self.copy_if_cheaper(memory, child, level - 1, &part, edit);
                        self.edit_table(memory, below, level - 1, part, edit);
                        if below != child {
                            memory.write(slot, Entry::link(below).0);
                            memory.free_table(child);
                            self.stale = true;
                        }
                    }
                    None => {
                        let child = self.new_table(memory, old, level - 1);
                        self.edit_table(memory, child, level - 1, part, edit);
                        memory.write(slot, Entry::link(child).0);
                        self.stale |= old.flags().contains(PageFlags::PRESENT);
                    }
                },
            }
        }
    }

    /// A copy of the live table `child`, if it is cheaper to change that and link it than to change `child` entry by
    /// entry; else `child`. A changed entry costs a trapped write; every other entry of a new table costs a host
    /// that shadows it about as much, when the page is touched next.
    fn copy_if_cheaper(
        &self,
        memory: &mut impl TableMemory,
        child: u64,
        level: u32,
        range: &Range<u64>,
        edit: Edit<'_>,
    ) -> u64 {
        let (mut changed, mut others) = (0, 0);
        for part in table_span(range, level) {
            let entry = Entry(memory.read(child + Self::slot(part.start, level)));
            let inside = range.start.max(part.start)..range.end.min(part.end);
            if inside.is_empty() {
                others += u32::from(!entry.is_empty());
            } else if entry.table(level).is_some() {
                // What is below would be live in both tables.
                return child;
            } else {
                let step = edit.step(entry, level, &inside, self.largest);
                changed += u32::from(!matches!(step, Step::Keep));
            }
        }
        if changed <= others + 1 {
            return child;
        }
        let Some(copy) = memory.alloc_table() else { return child };
        for part in table_span(range, level) {
            let slot = Self::slot(part.start, level);
            let entry = memory.read(child + slot);
            memory.write(copy + slot, entry);
        }
        copy
    }

    /// A table of `level`, not yet linked, that says what `old` in a table of the level above says.
    fn new_table(&mut self, memory: &mut impl TableMemory, old: Entry, level: u32) -> u64 {
        let table = self.spare.pop().expect("the demand was counted and set aside");
        if !old.is_empty() {
            for part in parts(0..span(level + 1), level) {
                let entry = old.split(level, part.start);
                memory.write(table + Self::slot(part.start, level), entry.0);
            }
        }
        table
    }

    /// Writes a new value to an entry, and then frees what it linked.
    fn replace(&mut self, memory: &mut impl TableMemory, slot: u64, level: u32, new: Entry) {
        let old = Entry(memory.read(slot));
        memory.write(slot, new.0);
        self.stale |= old.flags().contains(PageFlags::PRESENT);
        if let Some(table) = old.table(level) {
            free_tree(memory, table, level - 1);
        }
    }

    /// Counts the tables that [`Self::edit_table`] takes.
    fn count(
        &self,
        memory: &impl TableMemory,
        source: Source,
        level: u32,
        range: Range<u64>,
        edit: Edit<'_>,
    ) -> usize {
        if level == 1 {
            return 0;
        }
        let needed = |part: Range<u64>| {
            let old = source.entry(memory, level, part.start);
            let Step::Descend = edit.step(old, level, &part, self.largest) else { return 0 };
            match old.table(level) {
                Some(child) => self.count(memory, Source::Table(child), level - 1, part, edit),
                None => 1 + self.count(memory, Source::Uniform(old), level - 1, part, edit),
            }
        };
        parts(range, level).map(needed).sum()
    }

    /// The entry that decides about `virt` (a leaf, or empty) and the level of its table.
    fn walk(&self, memory: &impl TableMemory, virt: u64) -> (Entry, u32) {
        let (mut table, mut level) = (self.root, ROOT_LEVEL);
        loop {
            let entry = Entry(memory.read(table + Self::slot(virt, level)));
            match entry.table(level) {
                Some(child) => (table, level) = (child, level - 1),
                None => return (entry, level),
            }
        }
    }
}

impl Source {
    fn entry(self, memory: &impl TableMemory, level: u32, virt: u64) -> Entry {
        match self {
            Source::Table(table) => Entry(memory.read(table + PageTable::slot(virt, level))),
            Source::Uniform(above) => above.split(level, virt),
        }
    }
}

impl Extent {
    fn continues_in(&self, next: &Extent) -> bool {
        self.phys + self.bytes == next.phys && self.flags == next.flags
    }
}

/// From the first of `extents`, which ascend, to the last.
pub(crate) fn span_of(extents: &[Extent]) -> Range<u64> {
    let start = extents.first().map_or(0, |extent| extent.virt);
    start..extents.last().map_or(0, |extent| extent.range().end)
}

/// Whether everything that a table of `level` maps lies in `range`, a part of what the table spans.
fn is_inside(memory: &impl TableMemory, table: u64, level: u32, range: &Range<u64>) -> bool {
    table_span(range, level).all(|part| {
        let entry = Entry(memory.read(table + PageTable::slot(part.start, level)));
        let inside = range.start.max(part.start)..range.end.min(part.end);
        if entry.is_empty() || inside == part {
            return true;
        }
        match entry.table(level) {
            Some(child) if !inside.is_empty() => is_inside(memory, child, level - 1, &inside),
            _ => false,
        }
    })
}

/// What the entries of the table of `level` span that `range` lies in.
fn table_span(range: &Range<u64>, level: u32) -> impl Iterator<Item = Range<u64>> + use<> {
    let start = range.start - range.start % span(level + 1);
    parts(start..start.saturating_add(span(level + 1)), level)
}

/// Frees a table of `level` that is no longer linked, and all below it.
fn free_tree(memory: &mut impl TableMemory, table: u64, level: u32) {
    for part in parts(0..span(level + 1), level) {
        if let Some(child) =
            Entry(memory.read(table + PageTable::slot(part.start, level))).table(level)
        {
            free_tree(memory, child, level - 1);
        }
    }
    memory.free_table(table);
}
