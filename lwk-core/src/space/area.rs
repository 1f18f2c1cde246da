//! The list of a program's areas: what it asked for, as Linux's VMAs.
//!
//! Which of it has frames is the page table's knowledge, not kept twice.

use alloc::collections::BTreeMap;
use core::ops::Range;

use bitflags::bitflags;
use margay_abi::layout::{PAGE, USER_END, USER_START};

use crate::align_down;

bitflags! {
    /// Linux's protections, `PROT_*`.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Prot: u32 {
        /// `PROT_READ`.
        const READ = 1;
        /// `PROT_WRITE`.
        const WRITE = 2;
        /// `PROT_EXEC`.
        const EXEC = 4;
    }
}

impl Prot {
    /// What x86-64 grants for it: an accessible page is always readable.
    pub const fn effective(self) -> Prot {
        if self.is_empty() { self } else { self.union(Prot::READ) }
    }
}

/// What an area is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `MAP_PRIVATE | MAP_ANONYMOUS`.
    Anonymous,
    /// `MAP_SHARED | MAP_ANONYMOUS`: the same, but `MADV_DONTNEED` does not clear it.
    Shared,
    /// Read from a file: the program, or a file mapping.
    Image,
    /// Between the start of the heap and the program break.
    Heap,
    /// The first thread's stack.
    Stack,
    /// The vDSO and its data.
    Vdso,
    /// Stubs of rewritten system calls.
    Stubs,
}

/// An area: addresses with one protection and one purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Area {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// What the program may do there.
    pub prot: Prot,
    /// What it is for.
    pub kind: Kind,
    /// System calls that came from here through the slow entry.
    pub escapes: u32,
    /// Its system calls have been rewritten, or that was tried.
    pub rewritten: bool,
}

impl Area {
    /// A new area.
    pub const fn new(range: Range<u64>, prot: Prot, kind: Kind) -> Area {
        Area { start: range.start, end: range.end, prot, kind, escapes: 0, rewritten: false }
    }

    /// Its addresses.
    pub const fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    /// Whether `next` lies right behind this and only its addresses differ.
    pub(super) fn continues_in(&self, next: &Area) -> bool {
        self.end == next.start && Area { start: self.start, end: self.end, ..*next } == *self
    }
}

/// The areas of a program, by address, without overlap.
#[derive(Debug, Default)]
pub(crate) struct Areas {
    by_start: BTreeMap<u64, Area>,
}

impl Areas {
    /// The most areas a program may have. (Linux's `vm.max_map_count` is 65530; the LWK's heap is small.)
    pub(crate) const MAX: usize = 4096;

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Area> {
        self.by_start.values()
    }

    /// The area that `addr` lies in.
    pub(crate) fn at(&self, addr: u64) -> Option<&Area> {
        self.by_start.range(..=addr).next_back().map(|(_, area)| area).filter(|a| addr < a.end)
    }

    pub(crate) fn at_mut(&mut self, addr: u64) -> Option<&mut Area> {
        self.by_start.range_mut(..=addr).next_back().map(|(_, area)| area).filter(|a| addr < a.end)
    }

    /// The areas that reach into `range`, in order.
    pub(crate) fn overlapping(&self, range: &Range<u64>) -> impl Iterator<Item = &Area> {
        let first = self.at(range.start).map_or(range.start, |area| area.start);
        let end = if range.is_empty() { first } else { range.end };
        self.by_start.range(first..end).map(|(_, area)| area)
    }

    pub(crate) fn is_free(&self, range: &Range<u64>) -> bool {
        self.overlapping(range).next().is_none()
    }

    /// Whether no part of `range` lies outside the areas.
    pub(crate) fn covers(&self, range: &Range<u64>) -> bool {
        let mut at = range.start;
        for area in self.overlapping(range) {
            if area.start > at {
                return false;
            }
            at = area.end;
        }
        at >= range.end
    }

    /// Whether `range` can be cut out (two pieces may be left of one area) and `extra` areas be added.
    pub(crate) fn has_room(&self, range: &Range<u64>, extra: usize) -> bool {
        let cut = |addr| usize::from(self.at(addr).is_some_and(|area| area.start < addr));
        let left = (cut(range.start) + cut(range.end)).saturating_sub(1);
        self.by_start.len() + left + extra <= Areas::MAX
    }

    /// Adds an area where none is, as part of its neighbours if it is like them.
    pub(crate) fn insert(&mut self, mut area: Area) {
        debug_assert!(self.is_free(&area.range()), "{area:?} overlaps another");
        if let Some(next) = self.by_start.get(&area.end).copied().filter(|n| area.continues_in(n)) {
            self.by_start.remove(&next.start);
            area.end = next.end;
        }
        match self.by_start.range_mut(..area.start).next_back() {
            Some((_, before)) if before.continues_in(&area) => before.end = area.end,
            _ => {
                self.by_start.insert(area.start, area);
            }
        }
    }

    /// Removes `range` from all areas.
    pub(crate) fn remove(&mut self, range: &Range<u64>) {
        self.split(range.start);
        self.split(range.end);
        while let Some((&start, _)) = self.by_start.range(range.clone()).next() {
            self.by_start.remove(&start);
        }
    }

    /// Gives the areas in `range` another protection.
    pub(crate) fn protect(&mut self, range: &Range<u64>, prot: Prot) {
        self.split(range.start);
        self.split(range.end);
        let mut at = range.start;
        while let Some((&start, _)) = self.by_start.range(at..range.end).next() {
            if let Some(area) = self.by_start.remove(&start) {
                at = area.end;
                self.insert(Area { prot, ..area });
            }
        }
        // The last may now be like the one behind it.
        if let Some(area) = self.by_start.remove(&range.end) {
            self.insert(area);
        }
    }

    /// The highest free piece of `bytes` inside `within` that starts at a multiple of `align`.
    pub(crate) fn highest_gap(&self, bytes: u64, align: u64, within: &Range<u64>) -> Option<u64> {
        let mut end = within.end;
        let below = self.by_start.range(..within.end).rev().map(|(_, area)| area);
        for area in below {
            let floor = area.end.max(within.start);
            if let Some(start) = end.checked_sub(bytes).map(|start| align_down(start, align))
                && start >= floor
            {
                return Some(start);
            }
            end = end.min(area.start);
        }
        let start = align_down(end.checked_sub(bytes)?, align);
        (start >= within.start).then_some(start)
    }

    fn split(&mut self, addr: u64) {
        if let Some(area) = self.at_mut(addr)
            && area.start < addr
        {
            let upper = Area { start: addr, ..*area };
            area.end = addr;
            self.by_start.insert(addr, upper);
        }
    }
}

/// `[addr, addr + bytes)`, rounded up to pages, if a program's memory can lie there.
pub(crate) fn user_range(addr: u64, bytes: u64) -> Option<Range<u64>> {
    let end = addr.checked_add(bytes.checked_next_multiple_of(PAGE)?)?;
    (USER_START <= addr && end <= USER_END).then_some(addr..end)
}
