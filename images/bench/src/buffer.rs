//! Arrays that begin on a cache line, as vector loads and streaming stores want them.

use std::ops::{Deref, DerefMut};

use crate::error::BenchError;

/// Alignment in bytes: a cache line, and the widest vector.
pub const ALIGN: usize = 64;

/// A fixed-size array of `f64` whose first element is on a cache line.
#[derive(Debug)]
pub struct Aligned {
    // More than asked for; a `Vec` never moves its elements while its length stands.
    storage: Vec<f64>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` elements, each `value`. They are written, so their memory is there.
    ///
    /// # Errors
    /// [`BenchError::NoMemory`].
    pub fn filled(len: usize, value: f64) -> Result<Aligned, BenchError> {
        let room = len + ALIGN / size_of::<f64>();
        let mut storage = allocate(room)?;
        storage.resize(room, value);
        let start = storage.as_ptr().align_offset(ALIGN);
        Ok(Aligned { storage, start, len })
    }
}

impl Deref for Aligned {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.storage[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f64] {
        &mut self.storage[self.start..self.start + self.len]
    }
}

/// An empty vector with room for `len` elements.
///
/// # Errors
/// [`BenchError::NoMemory`].
pub fn allocate<T>(len: usize) -> Result<Vec<T>, BenchError> {
    let mut vec = Vec::new();
    let no_memory = |_| BenchError::NoMemory { bytes: len.saturating_mul(size_of::<T>()) };
    vec.try_reserve_exact(len).map_err(no_memory)?;
    Ok(vec)
}

#[cfg(test)]
mod tests {
    use super::{ALIGN, Aligned};

    #[test]
    fn starts_on_a_cache_line_and_has_the_length_asked_for() {
        for len in [0, 1, 7, 1000] {
            let buffer = Aligned::filled(len, 2.0).unwrap();
            assert_eq!(buffer.as_ptr() as usize % ALIGN, 0);
            assert_eq!(*buffer, vec![2.0; len]);
        }
    }
}
