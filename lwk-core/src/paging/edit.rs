//! What a change means for a single entry.

use core::ops::Range;

use super::entry::{Entry, PageFlags, span};
use super::{Extent, PageSize, PageTable};

/// A change of a range of virtual addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Edit<'a> {
    /// Map these extents, ascending and inside the range, replacing what is there. All in one change, so that a table
    /// that several of them share is linked once.
    Map(&'a [Extent]),
    /// Give the pages that are there other flags.
    Protect(PageFlags),
    /// Remove the pages that are there.
    Clear,
}

/// What to do with an entry.
pub(super) enum Step {
    /// Leave it.
    Keep,
    /// Give it this value, which it does not have.
    Write(Entry),
    /// Go on one level below.
    Descend,
}

impl Edit<'_> {
    /// The step for the entry `old` of a table of `level`; `part` is the part of its span to change.
    pub(super) fn step(self, old: Entry, level: u32, part: &Range<u64>, largest: PageSize) -> Step {
        let whole = part.end - part.start == span(level);
        let new = match self {
            Edit::Map(extents) => {
                let next = extents.partition_point(|extent| extent.range().end <= part.start);
                match extents.get(next) {
                    Some(extent) if extent.virt < part.end => {
                        extent.leaf(level, part).filter(|_| whole && largest.allows(level))
                    }
                    _ => return Step::Keep,
                }
            }
            _ if old.is_empty() => return Step::Keep,
            Edit::Clear => whole.then_some(Entry::EMPTY),
            Edit::Protect(_) if old.table(level).is_some() => None,
            Edit::Protect(flags) => {
                let new = old.with_flags(level, flags);
                (whole || new == old).then_some(new)
            }
        };
        match new {
            Some(new) if new == old => Step::Keep,
            Some(new) => Step::Write(new),
            None => Step::Descend,
        }
    }

    pub(super) const fn is_clear(self) -> bool {
        matches!(self, Edit::Clear)
    }
}

impl Extent {
    /// The entry of a table of `level` that maps all of `part`, if this extent can.
    fn leaf(&self, level: u32, part: &Range<u64>) -> Option<Entry> {
        let into = part.start.checked_sub(self.virt)?;
        let phys = self.phys + into;
        let covers = part.end <= self.range().end;
        (covers && phys.is_multiple_of(span(level))).then(|| Entry::leaf(phys, level, self.flags))
    }
}

/// The parts of `range` that fall to the entries of a table of `level`.
pub(super) fn parts(range: Range<u64>, level: u32) -> impl Iterator<Item = Range<u64>> {
    let mut at = range.start;
    core::iter::from_fn(move || {
        let start = at;
        at = (start | (span(level) - 1)).saturating_add(1).min(range.end);
        (start < range.end).then_some(start..at)
    })
}

impl PageTable {
    /// Offset in a table of `level` of the entry for `virt`.
    pub(super) const fn slot(virt: u64, level: u32) -> u64 {
        virt / span(level) % 512 * 8
    }
}
