//! Frames under areas: getting them, giving them back, and keeping page table and proxy in step.
//!
//! A call that needs memory works in two steps. First it *acquires* everything it may lack, frames and
//! tables, and can still fail. Then it *commits*, which cannot.

use core::ops::Range;

use alloc::vec::Vec;
use margay_abi::Errno;

use super::{AddressSpace, Machine, MapChange, Prot, page_flags, proxy_prot};
use crate::frames::{Run, Use};
use crate::paging::{Edit, Extent, PageFlags, SPLIT_TABLES, span_of};

/// New frames, and the addresses that they are for.
pub(super) type Pieces = Vec<Extent>;

impl<M: Machine> AddressSpace<M> {
    /// Gets frames for `holes`, to be mapped with `prot`, and the tables for that and for a change of what lies
    /// between them.
    pub(super) fn acquire(&mut self, holes: &[Range<u64>], prot: Prot) -> Result<Pieces, Errno> {
        let pieces = self.alloc_frames(holes, prot)?;
        let tables = self.table.demand(&self.machine, &pieces) + SPLIT_TABLES;
        self.reserve_or_abandon(tables, pieces)
    }

    /// Gets frames for all of `range`, which has none; no frames if `prot` makes it inaccessible.
    pub(super) fn acquire_all(&mut self, range: &Range<u64>, prot: Prot) -> Result<Pieces, Errno> {
        let holes = if prot.is_empty() { &[] } else { core::slice::from_ref(range) };
        self.acquire(holes, prot)
    }

    /// Sets `tables` tables aside, or else gives `pieces` back.
    pub(super) fn reserve_or_abandon(
        &mut self,
        tables: usize,
        pieces: Pieces,
    ) -> Result<Pieces, Errno> {
        match self.table.reserve(&mut self.machine, tables) {
            Ok(()) => Ok(pieces),
            Err(error) => {
                self.abandon(pieces);
                Err(error.into())
            }
        }
    }

    /// Ends a call: flushes the TLB if need be and gives back spare tables. Nothing that the call removed has
    /// been used for anything else so far.
    pub(super) fn settle(&mut self) {
        if self.table.take_stale() {
            self.machine.flush();
        }
        self.table.trim(&mut self.machine);
    }

    /// Gives back what [`Self::acquire`] got.
    pub(super) fn abandon(&mut self, pieces: Pieces) {
        for piece in pieces {
            self.machine.frames().free(piece.phys, piece.bytes, Use::Clean);
        }
        self.settle();
    }

    /// Clears and maps what [`Self::acquire`] got.
    pub(super) fn commit(&mut self, pieces: Pieces) {
        for piece in &pieces {
            self.clear_dirty(Run { gpa: piece.phys, bytes: piece.bytes });
            self.log_map(piece);
            self.used_bytes += piece.bytes;
        }
        self.table.edit(&mut self.machine, span_of(&pieces), Edit::Map(&pieces));
        self.peak_bytes = self.peak_bytes.max(self.used_bytes);
    }

    /// Removes all pages of `range` and frees their frames. [`SPLIT_TABLES`] tables are set aside.
    pub(super) fn discard(&mut self, range: Range<u64>) {
        let mut found: Option<Range<u64>> = None;
        let mut rest = range;
        while let Some(extent) = self.table.next_extent(&self.machine, &mut rest) {
            if !extent.flags.contains(PageFlags::BORROWED) {
                self.machine.frames().free(extent.phys, extent.bytes, Use::Dirty);
                self.used_bytes -= extent.bytes;
            }
            let start = found.map_or(extent.virt, |found| found.start);
            found = Some(start..extent.range().end);
        }
        if let Some(found) = found {
            self.log_unmap(found.clone());
            self.table.edit(&mut self.machine, found, Edit::Clear);
        }
    }

    /// Gives the pages that are in `range` another protection. [`SPLIT_TABLES`] tables are set aside.
    pub(super) fn reprotect(&mut self, range: Range<u64>, prot: Prot) {
        let flags = page_flags(prot);
        let mut spans = Spans::default();
        let mut rest = range.clone();
        while let Some(extent) = self.table.next_extent(&self.machine, &mut rest) {
            if proxy_prot(extent.flags) != proxy_prot(flags)
                && let Some(span) = spans.push(extent.range())
            {
                self.log_protect(span, proxy_prot(flags));
            }
        }
        if let Some(last) = spans.finish() {
            self.log_protect(last, proxy_prot(flags));
        }
        self.table.edit(&mut self.machine, range, Edit::Protect(flags));
    }

    /// The parts of `range` that have no frames.
    pub(super) fn holes(&self, range: &Range<u64>, borrowed: Borrowed) -> Vec<Range<u64>> {
        let mut holes = Vec::new();
        let (mut at, mut rest) = (range.start, range.clone());
        while let Some(extent) = self.table.next_extent(&self.machine, &mut rest) {
            if borrowed == Borrowed::IsHole && extent.flags.contains(PageFlags::BORROWED) {
                continue;
            }
            if at < extent.virt {
                holes.push(at..extent.virt);
            }
            at = extent.range().end;
        }
        if at < range.end {
            holes.push(at..range.end);
        }
        holes
    }

    /// Clears the frames that the program has in `range`.
    pub(super) fn clear(&mut self, range: Range<u64>) {
        let mut rest = range;
        while let Some(extent) = self.table.next_extent(&self.machine, &mut rest) {
            if !extent.flags.contains(PageFlags::BORROWED) {
                self.machine.zero(extent.phys, extent.bytes);
            }
        }
    }

    /// Tells the proxy of the pages in `extent`.
    pub(super) fn log_map(&mut self, extent: &Extent) {
        self.machine.log(MapChange::Map {
            addr: extent.virt,
            bytes: extent.bytes,
            gpa: extent.phys,
            prot: proxy_prot(extent.flags),
        });
    }

    /// Tells the proxy that nothing is in `range`.
    pub(super) fn log_unmap(&mut self, range: Range<u64>) {
        self.machine.log(MapChange::Unmap { addr: range.start, bytes: range.end - range.start });
    }

    fn log_protect(&mut self, range: Range<u64>, prot: Prot) {
        let bytes = range.end - range.start;
        self.machine.log(MapChange::Protect { addr: range.start, bytes, prot });
    }

    fn alloc_frames(&mut self, holes: &[Range<u64>], prot: Prot) -> Result<Pieces, Errno> {
        let missing: u64 = holes.iter().map(|hole| hole.end - hole.start).sum();
        if missing > self.machine.frames().free_bytes() {
            return Err(Errno::ENOMEM);
        }
        let mut pieces = Pieces::new();
        for hole in holes {
            let mut virt = hole.start;
            while virt < hole.end {
                let room = pieces.try_reserve(1);
                let run = self.machine.frames().alloc_run(hole.end - virt, virt);
                if let (Ok(()), Some(Run { gpa, bytes })) = (room, run) {
                    pieces.push(Extent { virt, phys: gpa, bytes, flags: page_flags(prot) });
                    virt += bytes;
                } else {
                    if let Some(run) = run {
                        self.machine.frames().free(run.gpa, run.bytes, Use::Clean);
                    }
                    self.abandon(pieces);
                    return Err(Errno::ENOMEM);
                }
            }
        }
        Ok(pieces)
    }

    /// Clears the parts of `run` that need it.
    fn clear_dirty(&mut self, run: Run) {
        let mut rest = run;
        while let Some(part) = self.machine.frames().first_dirty(rest) {
            self.machine.zero(part.gpa, part.bytes);
            let end = part.gpa + part.bytes;
            rest = Run { gpa: end, bytes: run.gpa + run.bytes - end };
        }
    }
}

/// Whether a page whose frame belongs to somebody else counts as a hole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Borrowed {
    IsHole,
    IsPage,
}

/// Joins neighbouring ranges, so that the proxy is told once of what is one to it.
#[derive(Default)]
struct Spans {
    open: Option<Range<u64>>,
}

impl Spans {
    /// Adds the next range; returns the one before it, if that is complete.
    fn push(&mut self, next: Range<u64>) -> Option<Range<u64>> {
        match &mut self.open {
            Some(open) if open.end == next.start => {
                open.end = next.end;
                None
            }
            open => open.replace(next),
        }
    }

    fn finish(self) -> Option<Range<u64>> {
        self.open
    }
}
