//! The vector kernels, chosen by what the processor can do when the program runs.
//!
//! One binary must serve machines with AVX2, with AVX-512 and with neither, so the choice is made at run time: a [`Simd`]
//! is a proof that the processor and the system (XCR0) support an instruction set, since only [`Simd::available`] makes
//! one. That makes the calls below sound.

use std::arch::x86_64::{
    __m256d, __m512d, _mm_sfence, _mm256_broadcast_sd, _mm256_fmadd_pd, _mm256_load_pd,
    _mm256_loadu_pd, _mm256_set1_pd, _mm256_setzero_pd, _mm256_storeu_pd, _mm256_stream_pd,
    _mm512_fmadd_pd, _mm512_load_pd, _mm512_loadu_pd, _mm512_set1_pd, _mm512_setzero_pd,
    _mm512_storeu_pd, _mm512_stream_pd,
};

use crate::buffer::ALIGN;

/// An instruction set that this processor has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Simd(Level);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Level {
    Baseline,
    Avx2,
    Avx512,
}

/// Size of the block of C that [`Simd::multiply_panels`] computes: as much as fits in the registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tile {
    /// Rows, which is the width of a panel of A.
    pub rows: usize,
    /// Columns, which is the width of a panel of B.
    pub cols: usize,
}

/// Elements of the largest tile.
pub const MAX_TILE: usize = 12 * 16;

impl Simd {
    /// What this processor has, the best first.
    pub fn available() -> impl Iterator<Item = Simd> {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = is_x86_feature_detected!("avx512f");
        [(Level::Avx512, avx512), (Level::Avx2, avx2), (Level::Baseline, true)]
            .into_iter()
            .filter_map(|(level, is_there)| is_there.then_some(Simd(level)))
    }

    /// The best that this processor has.
    pub fn best() -> Simd {
        Simd::available().next().expect("the baseline is always there")
    }

    /// Name of the instruction set.
    pub const fn name(self) -> &'static str {
        match self.0 {
            Level::Baseline => "sse2",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
        }
    }

    /// The tile of [`Simd::multiply_panels`]. Both sizes leave registers for the operands: 12 of 16 and 24 of 32 hold C.
    pub const fn tile(self) -> Tile {
        match self.0 {
            Level::Baseline => Tile { rows: 4, cols: 4 },
            Level::Avx2 => Tile { rows: 6, cols: 8 },
            Level::Avx512 => Tile { rows: 12, cols: 16 },
        }
    }

    /// `a[i] = b[i] + s * c[i]`, with streaming stores where there are vectors: `a` is far larger than the cache, so
    /// reading it before it is overwritten would waste a third of the bandwidth.
    ///
    /// # Panics
    /// Unless the slices have one length and begin on a cache line.
    pub fn triad(self, a: &mut [f64], b: &[f64], c: &[f64], s: f64) {
        assert!(a.len() == b.len() && a.len() == c.len(), "arrays of different lengths");
        let starts = [a.as_ptr(), b.as_ptr(), c.as_ptr()];
        assert!(starts.iter().all(|p| p.addr().is_multiple_of(ALIGN)), "array not on a cache line");
        match self.0 {
            Level::Baseline => triad_scalar(a, b, c, s),
            // SAFETY: `self` proves AVX2 and FMA; lengths and alignment were checked above.
            Level::Avx2 => unsafe { triad_avx2(a, b, c, s) },
            // SAFETY: `self` proves AVX-512F; lengths and alignment were checked above.
            Level::Avx512 => unsafe { triad_avx512(a, b, c, s) },
        }
    }

    /// The microkernel of a matrix product: `tile = A * B` for a panel of A (`depth` columns of `rows` elements) and a
    /// panel of B (`depth` rows of `cols` elements). `tile` is row-major, as [`Simd::tile`] says.
    ///
    /// # Panics
    /// Unless the panels have one depth and `tile` has a tile's size.
    pub fn multiply_panels(self, a: &[f64], b: &[f64], tile: &mut [f64]) {
        let Tile { rows, cols } = self.tile();
        let depth = a.len() / rows;
        assert!(a.len() == depth * rows && b.len() == depth * cols, "panels of different depth");
        assert!(tile.len() == rows * cols, "tile of the wrong size");
        match self.0 {
            Level::Baseline => multiply_scalar(a, b, tile),
            // SAFETY: `self` proves AVX2 and FMA; the sizes were checked above.
            Level::Avx2 => unsafe { multiply_avx2(a, b, tile) },
            // SAFETY: `self` proves AVX-512F; the sizes were checked above.
            Level::Avx512 => unsafe { multiply_avx512(a, b, tile) },
        }
    }
}

fn triad_scalar(a: &mut [f64], b: &[f64], c: &[f64], s: f64) {
    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
        *a = s * c + b;
    }
}

/// # Safety
/// AVX2 and FMA; slices of one length, on cache lines.
#[target_feature(enable = "avx2,fma")]
unsafe fn triad_avx2(a: &mut [f64], b: &[f64], c: &[f64], s: f64) {
    const LANES: usize = 4;
    let whole = a.len() - a.len() % LANES;
    let factor = _mm256_set1_pd(s);
    for i in (0..whole).step_by(LANES) {
        // SAFETY: `i + LANES <= whole <= len` of all three, and `i` elements past a cache line is a multiple of 32 bytes.
        unsafe {
            let sum = _mm256_fmadd_pd(
                factor,
                _mm256_load_pd(c.as_ptr().add(i)),
                _mm256_load_pd(b.as_ptr().add(i)),
            );
            _mm256_stream_pd(a.as_mut_ptr().add(i), sum);
        }
    }
    // Streaming stores are not ordered with others; whoever reads `a` next must see them.
    _mm_sfence();
    triad_scalar(&mut a[whole..], &b[whole..], &c[whole..], s);
}

/// # Safety
/// AVX-512F; slices of one length, on cache lines.
#[target_feature(enable = "avx512f")]
unsafe fn triad_avx512(a: &mut [f64], b: &[f64], c: &[f64], s: f64) {
    const LANES: usize = 8;
    let whole = a.len() - a.len() % LANES;
    let factor = _mm512_set1_pd(s);
    for i in (0..whole).step_by(LANES) {
        // SAFETY: `i + LANES <= whole <= len` of all three, and `i` elements past a cache line is a multiple of 64 bytes.
        unsafe {
            let sum = _mm512_fmadd_pd(
                factor,
                _mm512_load_pd(c.as_ptr().add(i)),
                _mm512_load_pd(b.as_ptr().add(i)),
            );
            _mm512_stream_pd(a.as_mut_ptr().add(i), sum);
        }
    }
    // Streaming stores are not ordered with others; whoever reads `a` next must see them.
    _mm_sfence();
    triad_scalar(&mut a[whole..], &b[whole..], &c[whole..], s);
}

fn multiply_scalar(a: &[f64], b: &[f64], tile: &mut [f64]) {
    const ROWS: usize = 4;
    const COLS: usize = 4;
    let mut sums = [[0.0; COLS]; ROWS];
    for (a, b) in a.chunks_exact(ROWS).zip(b.chunks_exact(COLS)) {
        for (row, &a) in sums.iter_mut().zip(a) {
            for (sum, &b) in row.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    tile.copy_from_slice(sums.as_flattened());
}

/// # Safety
/// AVX2 and FMA; panels of one depth for a tile of 6 x 8; `tile` of that size.
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply_avx2(a: &[f64], b: &[f64], tile: &mut [f64]) {
    const ROWS: usize = 6;
    const LANES: usize = 4;
    let mut sums: [[__m256d; 2]; ROWS] = [[_mm256_setzero_pd(); 2]; ROWS];
    for (a, b) in a.chunks_exact(ROWS).zip(b.chunks_exact(2 * LANES)) {
        // SAFETY: `b` has two vectors, and the loads need no alignment.
        let (left, right) =
            unsafe { (_mm256_loadu_pd(b.as_ptr()), _mm256_loadu_pd(b.as_ptr().add(LANES))) };
        for (sum, a) in sums.iter_mut().zip(a) {
            let a = _mm256_broadcast_sd(a);
            sum[0] = _mm256_fmadd_pd(a, left, sum[0]);
            sum[1] = _mm256_fmadd_pd(a, right, sum[1]);
        }
    }
    for (sum, row) in sums.iter().zip(tile.chunks_exact_mut(2 * LANES)) {
        // SAFETY: the row has room for two vectors, and the stores need no alignment.
        unsafe {
            _mm256_storeu_pd(row.as_mut_ptr(), sum[0]);
            _mm256_storeu_pd(row.as_mut_ptr().add(LANES), sum[1]);
        }
    }
}

/// # Safety
/// AVX-512F; panels of one depth for a tile of 12 x 16; `tile` of that size.
#[target_feature(enable = "avx512f")]
unsafe fn multiply_avx512(a: &[f64], b: &[f64], tile: &mut [f64]) {
    const ROWS: usize = 12;
    const LANES: usize = 8;
    let mut sums: [[__m512d; 2]; ROWS] = [[_mm512_setzero_pd(); 2]; ROWS];
    for (a, b) in a.chunks_exact(ROWS).zip(b.chunks_exact(2 * LANES)) {
        // SAFETY: `b` has two vectors, and the loads need no alignment.
        let (left, right) =
            unsafe { (_mm512_loadu_pd(b.as_ptr()), _mm512_loadu_pd(b.as_ptr().add(LANES))) };
        for (sum, &a) in sums.iter_mut().zip(a) {
            let a = _mm512_set1_pd(a);
            sum[0] = _mm512_fmadd_pd(a, left, sum[0]);
            sum[1] = _mm512_fmadd_pd(a, right, sum[1]);
        }
    }
    for (sum, row) in sums.iter().zip(tile.chunks_exact_mut(2 * LANES)) {
        // SAFETY: the row has room for two vectors, and the stores need no alignment.
        unsafe {
            _mm512_storeu_pd(row.as_mut_ptr(), sum[0]);
            _mm512_storeu_pd(row.as_mut_ptr().add(LANES), sum[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Simd, Tile};
    use crate::{buffer::Aligned, rng::SplitMix64};

    fn random(len: usize, rng: &mut SplitMix64) -> Aligned {
        let mut buffer = Aligned::filled(len, 0.0).unwrap();
        buffer.fill_with(|| rng.next_signed_unit());
        buffer
    }

    #[test]
    fn every_triad_agrees_with_the_formula_at_every_remainder() {
        let mut rng = SplitMix64::new(1);
        for simd in Simd::available() {
            for len in 0..40 {
                let (b, c) = (random(len, &mut rng), random(len, &mut rng));
                let mut a = Aligned::filled(len, f64::NAN).unwrap();
                simd.triad(&mut a, &b, &c, 3.0);
                for i in 0..len {
                    assert!((a[i] - (b[i] + 3.0 * c[i])).abs() < 1e-14, "{simd:?} {len} {i}");
                }
            }
        }
    }

    #[test]
    fn every_microkernel_agrees_with_the_definition_of_a_product() {
        let mut rng = SplitMix64::new(2);
        for simd in Simd::available() {
            let Tile { rows, cols } = simd.tile();
            for depth in [0, 1, 2, 33] {
                let (a, b) = (random(depth * rows, &mut rng), random(depth * cols, &mut rng));
                let mut tile = vec![f64::NAN; rows * cols];
                simd.multiply_panels(&a, &b, &mut tile);
                for (i, got) in tile.iter().enumerate() {
                    let (row, col) = (i / cols, i % cols);
                    let want: f64 = (0..depth).map(|k| a[k * rows + row] * b[k * cols + col]).sum();
                    assert!((got - want).abs() < 1e-13, "{simd:?} {depth} {row} {col}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "different lengths")]
    fn triad_of_unequal_arrays_is_a_bug() {
        let (b, c) = (Aligned::filled(8, 0.0).unwrap(), Aligned::filled(7, 0.0).unwrap());
        Simd::best().triad(&mut Aligned::filled(8, 0.0).unwrap(), &b, &c, 1.0);
    }
}
