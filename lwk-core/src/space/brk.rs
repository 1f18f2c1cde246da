//! `brk`: the heap that `malloc` begins with.
//!
//! Programs move the break in small steps, but each change of a page table is expensive, so frames are mapped
//! *ahead*, up to the next 2 MiB boundary. Memory ahead is not part of an area, is always zero, and makes
//! room for anything that the program places there. (A program that touches it finds memory where Linux would
//! send it a signal.)

use core::ops::Range;

use margay_abi::Errno;
use margay_abi::layout::{LARGE_PAGE, PAGE, USER_END};

use super::{AddressSpace, Area, Kind, Machine, Prot};
use crate::align_up;
use crate::paging::SPLIT_TABLES;

const HEAP_PROT: Prot = Prot::READ.union(Prot::WRITE);

/// Where the heap is.
#[derive(Debug, Default)]
pub(super) struct Heap {
    start: u64,
    /// The program break, to the byte.
    current: u64,
    /// End of the memory mapped ahead, at least `current` rounded up to a page.
    ahead_end: u64,
}

impl Heap {
    /// End of the heap's pages.
    const fn top(&self) -> u64 {
        self.current.next_multiple_of(PAGE)
    }

    /// The memory that is mapped ahead.
    pub(super) const fn ahead(&self) -> Range<u64> {
        self.top()..self.ahead_end
    }
}

impl<M: Machine> AddressSpace<M> {
    /// Sets where the heap begins, once. It is empty at first.
    pub fn start_heap(&mut self, start: u64) {
        self.heap = Heap { start, current: start, ahead_end: start.next_multiple_of(PAGE) };
    }

    /// `brk`, as the raw call: the new break, or the old one if it cannot be moved.
    pub fn brk(&mut self, addr: u64) -> u64 {
        if addr >= self.heap.start && self.move_break(addr).is_ok() {
            self.heap.current = addr;
        }
        self.heap.current
    }

    /// Gives memory that is mapped ahead in or above `range` back, so that `range` can be used for something else.
    pub(super) fn release_ahead(&mut self, range: &Range<u64>) -> Result<(), Errno> {
        let ahead = self.heap.ahead();
        if range.start >= ahead.end || range.end <= ahead.start {
            return Ok(());
        }
        let start = range.start.max(ahead.start);
        self.table.reserve(&mut self.machine, SPLIT_TABLES)?;
        self.discard(start..ahead.end);
        self.settle();
        self.heap.ahead_end = start;
        Ok(())
    }

    fn move_break(&mut self, addr: u64) -> Result<(), Errno> {
        let old_top = self.heap.top();
        let new_top = align_up(addr, PAGE).filter(|&top| top <= USER_END).ok_or(Errno::ENOMEM)?;
        if new_top > old_top {
            self.grow_heap(old_top..new_top)
        } else if new_top < old_top {
            self.shrink_heap(new_top..old_top)
        } else {
            Ok(())
        }
    }

    fn grow_heap(&mut self, growth: Range<u64>) -> Result<(), Errno> {
        // As Linux, keep one page away from what comes next.
        let with_guard = growth.start..growth.end + PAGE;
        if with_guard.end > USER_END || !self.areas.is_free(&with_guard) {
            return Err(Errno::ENOMEM);
        }
        self.check_room(&growth)?;
        let mapped = self.heap.ahead_end;
        if growth.end > mapped {
            let ahead_end = growth.end.next_multiple_of(LARGE_PAGE);
            let roomy = self.areas.is_free(&(mapped..ahead_end + PAGE));
            if !(roomy && self.map_ahead(ahead_end).is_ok()) {
                self.map_ahead(growth.end)?;
            }
        }
        self.areas.insert(Area::new(growth, HEAP_PROT, Kind::Heap));
        Ok(())
    }

    /// Maps zeroed memory from the end of what is mapped ahead up to `end`.
    fn map_ahead(&mut self, end: u64) -> Result<(), Errno> {
        let pieces = self.acquire_all(&(self.heap.ahead_end..end), HEAP_PROT)?;
        self.commit(pieces);
        self.settle();
        self.heap.ahead_end = end;
        Ok(())
    }

    /// Takes `cut` from the top of the heap. What lies in its first, partial large page becomes memory ahead,
    /// if nothing else was done with it.
    fn shrink_heap(&mut self, cut: Range<u64>) -> Result<(), Errno> {
        let kept_end = cut.start.next_multiple_of(LARGE_PAGE).min(self.heap.ahead_end);
        let kept = cut.start..kept_end.min(cut.end);
        let as_made = self.areas.at(kept.start).is_some_and(|area| {
            area.kind == Kind::Heap && area.prot == HEAP_PROT && area.end >= kept.end
        });
        let kept_end = if as_made { kept_end } else { cut.start };
        if !self.areas.has_room(&cut, 0) {
            return Err(Errno::ENOMEM);
        }
        self.table.reserve(&mut self.machine, SPLIT_TABLES)?;
        self.discard(kept_end..self.heap.ahead_end.max(kept_end));
        self.settle();
        self.clear(cut.start..kept_end.min(cut.end));
        self.areas.remove(&cut);
        self.heap.ahead_end = kept_end;
        Ok(())
    }
}
