//! What of the program's memory the proxy shows at the moment, and how it may be accessed.
//!
//! The kernel knows this too, but the proxy has to know before it touches the program's memory itself: a wrong address
//! must become `EFAULT`, not the proxy's own segmentation fault.

use std::collections::BTreeMap;

use crate::range::{Prot, UserRange};

/// A map from addresses to protections. Neighbours of equal protection are one extent.
#[derive(Debug, Default)]
pub struct Extents {
    /// By first address.
    by_start: BTreeMap<u64, Extent>,
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    end: u64,
    prot: Prot,
}

impl Extents {
    /// `range` is mapped with `prot`, whatever it was before.
    pub fn set(&mut self, range: UserRange, prot: Prot) {
        self.clear(range);
        self.by_start.insert(range.start(), Extent { end: range.end(), prot });
        self.merge_at(range.start());
        self.merge_at(range.end());
    }

    /// Nothing is mapped in `range`.
    pub fn clear(&mut self, range: UserRange) {
        self.split_at(range.start());
        self.split_at(range.end());
        while let Some((&start, _)) = self.by_start.range(range.start()..range.end()).next() {
            self.by_start.remove(&start);
        }
    }

    /// The parts of `range` that are mapped, in order.
    pub fn mapped_in(&self, range: UserRange) -> Vec<UserRange> {
        let before = self.by_start.range(..range.start()).next_back();
        let inside = self.by_start.range(range.start()..range.end());
        before
            .into_iter()
            .chain(inside)
            .filter_map(|(&start, extent)| range.cut(start, extent.end))
            .collect()
    }

    /// How many of the `len` bytes from `addr` on may be accessed so, before the first that may not.
    pub fn accessible(&self, addr: u64, len: u64, access: Prot) -> u64 {
        let end = addr.saturating_add(len);
        let mut at = addr;
        while at < end {
            match self.by_start.range(..=at).next_back() {
                Some((_, extent)) if extent.end > at && extent.prot.allows(access) => {
                    at = extent.end;
                }
                _ => break,
            }
        }
        at.min(end) - addr
    }

    /// Makes `at` a boundary between extents if it lies within one.
    fn split_at(&mut self, at: u64) {
        if let Some((_, extent)) = self.by_start.range_mut(..at).next_back()
            && extent.end > at
        {
            let right = *extent;
            extent.end = at;
            self.by_start.insert(at, right);
        }
    }

    /// Makes the extents that meet at `at` one, if their protection is the same.
    fn merge_at(&mut self, at: u64) {
        let Some(&right) = self.by_start.get(&at) else { return };
        if let Some((_, left)) = self.by_start.range_mut(..at).next_back()
            && left.end == at
            && left.prot == right.prot
        {
            left.end = right.end;
            self.by_start.remove(&at);
        }
    }
}

#[cfg(test)]
mod tests {
    use margay_abi::layout::{PAGE, USER_START};
    use proptest::prelude::*;

    use super::{Extents, Prot, UserRange};

    const PAGES: u64 = 24;

    fn at(page: u64) -> u64 {
        USER_START + page * PAGE
    }

    proptest! {
        /// Against a list of pages.
        #[test]
        fn extents_are_what_a_list_of_pages_would_be(
            changes in proptest::collection::vec((0..PAGES, 1..PAGES, 0_u32..5), 1..40),
        ) {
            let mut extents = Extents::default();
            let mut pages = [None::<Prot>; PAGES as usize];
            for (first, count, prot) in changes {
                let last = (first + count).min(PAGES);
                let range = UserRange::new(at(first), at(last) - at(first)).unwrap();
                let prot = Prot::from_bits(prot);
                match prot {
                    Some(prot) => extents.set(range, prot),
                    None => extents.clear(range),
                }
                pages[first as usize..last as usize].fill(prot);
            }
            for first in 0..PAGES {
                for access in [Prot::READ, Prot::WRITE] {
                    let want = pages[first as usize..]
                        .iter()
                        .take_while(|page| page.is_some_and(|prot| prot.allows(access)))
                        .count() as u64 * PAGE;
                    let inside = want.saturating_sub(5);
                    let got = extents.accessible(at(first) + 5, u64::MAX, access);
                    prop_assert_eq!(got, inside);
                    prop_assert_eq!(extents.accessible(at(first), 3, access), want.min(3));
                }
            }
            let all = UserRange::new(at(0), PAGES * PAGE).unwrap();
            let mapped: u64 = extents.mapped_in(all).iter().map(|range| range.len()).sum();
            prop_assert_eq!(mapped, pages.iter().flatten().count() as u64 * PAGE);
            let edges = pages.windows(2).filter(|pair| pair[0] != pair[1] && pair[1].is_some());
            let runs = edges.count() + usize::from(pages[0].is_some());
            prop_assert_eq!(extents.by_start.len(), runs, "neighbours are merged");
        }
    }

    #[test]
    fn parts_of_a_range_are_cut_to_it() {
        let mut extents = Extents::default();
        extents.set(UserRange::new(at(0), 4 * PAGE).unwrap(), Prot::READ);
        extents.set(UserRange::new(at(6), 4 * PAGE).unwrap(), Prot::WRITE);
        let parts = extents.mapped_in(UserRange::new(at(2), 6 * PAGE).unwrap());
        assert_eq!(
            parts,
            [UserRange::new(at(2), 2 * PAGE).unwrap(), UserRange::new(at(6), 2 * PAGE).unwrap()]
        );
    }
}
