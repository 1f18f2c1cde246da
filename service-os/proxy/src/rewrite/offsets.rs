//! Sets of offsets into a text, as bit maps: one bit a byte of text, so that a set of a megabyte of code takes 128 KiB
//! however dense it is, and a question about a few neighbouring bytes reads one or two words.

use std::ops::Range;

/// A set of offsets below a bound given at the start.
#[derive(Debug)]
pub struct OffsetSet {
    words: Vec<u64>,
}

impl OffsetSet {
    /// The empty set of offsets below `bound`.
    pub fn new(bound: usize) -> Self {
        Self { words: vec![0; bound.div_ceil(64)] }
    }

    /// Adds an offset. Offsets above the bound are left out.
    pub fn insert(&mut self, offset: usize) {
        if let Some(word) = self.words.get_mut(offset / 64) {
            *word |= 1 << (offset % 64);
        }
    }

    /// Adds every offset of a range of a few bytes.
    pub fn insert_all(&mut self, range: Range<usize>) {
        range.for_each(|offset| self.insert(offset));
    }

    /// Is this offset in the set?
    pub fn contains(&self, offset: usize) -> bool {
        self.words.get(offset / 64).is_some_and(|word| word & (1 << (offset % 64)) != 0)
    }

    /// Is any offset of a range of a few bytes in the set?
    pub fn meets(&self, mut range: Range<usize>) -> bool {
        range.any(|offset| self.contains(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::OffsetSet;

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        let mut set = OffsetSet::new(130);
        set.insert_all(62..66);
        set.insert(129);
        set.insert(usize::MAX);
        let members: Vec<usize> = (0..300).filter(|&offset| set.contains(offset)).collect();
        assert_eq!(members, [62, 63, 64, 65, 129]);
        assert!(set.meets(0..63) && set.meets(65..70) && !set.meets(66..129) && !set.meets(62..62));
    }
}
