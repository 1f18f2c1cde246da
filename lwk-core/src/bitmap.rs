//! A fixed-size bitmap with the searches that the frame allocator needs, a word at a time.

use core::ops::Range;

use alloc::{vec, vec::Vec};

const WORD: usize = u64::BITS as usize;

/// Bits 0 to `len`, all clear at first.
#[derive(Debug)]
pub(crate) struct Bitmap {
    words: Vec<u64>,
    len: usize,
}

impl Bitmap {
    pub(crate) fn new(len: usize) -> Bitmap {
        Bitmap { words: vec![0; len.div_ceil(WORD)], len }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Sets the bits of `range`.
    pub(crate) fn set(&mut self, range: Range<usize>) {
        self.for_words(range, |word, mask| *word |= mask);
    }

    /// Clears the bits of `range`.
    pub(crate) fn clear(&mut self, range: Range<usize>) {
        self.for_words(range, |word, mask| *word &= !mask);
    }

    /// Number of set bits in `range`.
    pub(crate) fn count(&self, range: Range<usize>) -> usize {
        masks(range).map(|(word, mask)| (self.words[word] & mask).count_ones() as usize).sum()
    }

    /// The maximal runs of set bits in `range`, in ascending order.
    pub(crate) fn runs(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
        let mut at = range.start;
        core::iter::from_fn(move || {
            let start = self.find(at..range.end, |word| word)?;
            at = self.find(start..range.end, |word| !word).unwrap_or(range.end);
            Some(start..at)
        })
    }

    /// First bit of `range` that is set in `view` of its word.
    fn find(&self, range: Range<usize>, view: impl Fn(u64) -> u64) -> Option<usize> {
        masks(range)
            .map(|(word, mask)| (word, view(self.words[word]) & mask))
            .find(|&(_, bits)| bits != 0)
            .map(|(word, bits)| word * WORD + bits.trailing_zeros() as usize)
    }

    fn for_words(&mut self, range: Range<usize>, change: impl Fn(&mut u64, u64)) {
        assert!(range.end <= self.len, "bits {range:?} of a bitmap of {}", self.len);
        masks(range).for_each(|(word, mask)| change(&mut self.words[word], mask));
    }
}

/// The words that hold the bits of `range`, each with a mask of those bits.
fn masks(range: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let words = if range.is_empty() { 0..0 } else { range.start / WORD..range.end.div_ceil(WORD) };
    words.map(move |word| {
        let first = range.start.saturating_sub(word * WORD);
        let last = (range.end - word * WORD).min(WORD) - 1;
        (word, (u64::MAX << first) & (u64::MAX >> (WORD - 1 - last)))
    })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::Bitmap;

    #[test]
    fn runs_cross_words() {
        let mut bits = Bitmap::new(300);
        bits.set(3..4);
        bits.set(60..200);
        bits.clear(128..129);
        bits.set(299..300);
        assert_eq!(bits.runs(0..300).collect::<Vec<_>>(), [3..4, 60..128, 129..200, 299..300]);
        assert_eq!(bits.runs(64..130).collect::<Vec<_>>(), [64..128, 129..130]);
        assert_eq!(bits.count(0..300), 141);
        assert_eq!(bits.count(100..100), 0);
    }
}
