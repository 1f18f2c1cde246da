//! Floating point: C = A * B in double precision, blocked and packed as in Goto and van de Geijn, "Anatomy of
//! high-performance matrix multiplication" (2008).
//!
//! A block of B stays in the third-level cache, a block of A in the second, a panel of B in the first, and a tile of C in
//! registers. Blocks are copied into panels in the order in which the microkernel reads them, padded with zeros to whole
//! tiles, so the microkernel knows no edges and touches few pages.

use crate::{
    buffer::Aligned,
    error::BenchError,
    figure::Figure,
    passes::Passes,
    rng::SplitMix64,
    simd::{MAX_TILE, Simd, Tile},
};

/// Depth of a block: a panel of B, 8 or 16 wide, is 16 or 32 KiB.
const DEPTH: usize = 256;
/// Rows of a block of A, a multiple of every tile's: 192 KiB with the depth.
const BLOCK_ROWS: usize = 96;
/// Columns of a block of B, a multiple of every tile's: 4 MiB with the depth.
const BLOCK_COLS: usize = 2048;
/// Probes of Freivalds' check. Each finds a wrong product with probability 1/2 at least.
const PROBES: u32 = 8;

/// A square matrix, row-major.
struct Matrix {
    n: usize,
    elements: Aligned,
}

impl Matrix {
    fn zero(n: usize) -> Result<Matrix, BenchError> {
        Ok(Matrix { n, elements: Aligned::filled(n * n, 0.0)? })
    }

    /// Elements in [-1, 1).
    fn random(n: usize, rng: &mut SplitMix64) -> Result<Matrix, BenchError> {
        let mut matrix = Matrix::zero(n)?;
        matrix.elements.fill_with(|| rng.next_signed_unit());
        Ok(matrix)
    }

    fn row(&self, i: usize) -> &[f64] {
        &self.elements[i * self.n..(i + 1) * self.n]
    }

    fn times_vector(&self, x: &[f64]) -> Vec<f64> {
        let dot = |i| self.row(i).iter().zip(x).map(|(m, x)| m * x).sum();
        (0..self.n).map(dot).collect()
    }
}

/// Room for the packed blocks, used again and again.
struct Packed {
    a: Aligned,
    b: Aligned,
}

/// Part of a matrix.
#[derive(Clone, Copy)]
struct Block {
    row: usize,
    col: usize,
    rows: usize,
    cols: usize,
}

/// Multiplies two random matrices of order `n`. GFLOP/s count `2 * n^3`.
///
/// # Errors
/// [`BenchError::NoMemory`]; [`BenchError::WrongResult`] if the product fails the check.
pub fn run(n: u32, passes: u32) -> Result<Vec<Figure>, BenchError> {
    let order = n as usize;
    let simd = Simd::best();
    let mut rng = SplitMix64::new(2048);
    let a = Matrix::random(order, &mut rng)?;
    let b = Matrix::random(order, &mut rng)?;
    let mut c = Matrix::zero(order)?;
    let mut packed = Packed::new()?;
    let passes = Passes::measure(passes, || multiply(simd, &a, &b, &mut c, &mut packed));
    let error = check(&a, &b, &c, &mut rng)?;
    let gigaflop = 2.0 * f64::from(n).powi(3) / 1e9;
    let figure = |metric, seconds| Figure {
        name: "dgemm",
        metric,
        unit: "GFLOP/s",
        value: gigaflop / seconds,
        seconds: passes.total(),
        n: passes.count(),
        checks: format!("{PROBES} Freivalds probes, error {error:.1e}, {}", simd.name()),
    };
    Ok(vec![figure("best", passes.best()), figure("median", passes.median())])
}

/// C = A * B.
fn multiply(simd: Simd, a: &Matrix, b: &Matrix, c: &mut Matrix, packed: &mut Packed) {
    let n = a.n;
    let tile = simd.tile();
    c.elements.fill(0.0);
    for (col, cols) in blocks(n, BLOCK_COLS) {
        for (k, depth) in blocks(n, DEPTH) {
            packed.pack_b(b, Block { row: k, col, rows: depth, cols }, tile.cols);
            for (row, rows) in blocks(n, BLOCK_ROWS) {
                packed.pack_a(a, Block { row, col: k, rows, cols: depth }, tile.rows);
                packed.multiply_block(simd, depth, c, Block { row, col, rows, cols });
            }
        }
    }
}

/// Cuts `0..n` into pieces of at most `size`: (start, length).
fn blocks(n: usize, size: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).step_by(size).map(move |start| (start, size.min(n - start)))
}

impl Packed {
    fn new() -> Result<Packed, BenchError> {
        Ok(Packed {
            a: Aligned::filled(BLOCK_ROWS * DEPTH, 0.0)?,
            b: Aligned::filled(DEPTH * BLOCK_COLS, 0.0)?,
        })
    }

    /// Packs a block of A into panels of `width` rows, each column by column.
    fn pack_a(&mut self, a: &Matrix, block: Block, width: usize) {
        let panels = self.a.chunks_exact_mut(width * block.cols);
        for ((start, used), panel) in blocks(block.rows, width).zip(panels) {
            for i in 0..width {
                let column = panel[i..].iter_mut().step_by(width);
                if i < used {
                    let row = &a.row(block.row + start + i)[block.col..block.col + block.cols];
                    column.zip(row).for_each(|(to, from)| *to = *from);
                } else {
                    column.for_each(|to| *to = 0.0);
                }
            }
        }
    }

    /// Packs a block of B into panels of `width` columns, each row by row.
    fn pack_b(&mut self, b: &Matrix, block: Block, width: usize) {
        let panels = self.b.chunks_exact_mut(width * block.rows);
        for ((start, used), panel) in blocks(block.cols, width).zip(panels) {
            for (k, to) in panel.chunks_exact_mut(width).enumerate() {
                let from = &b.row(block.row + k)[block.col + start..][..used];
                to[..used].copy_from_slice(from);
                to[used..].fill(0.0);
            }
        }
    }

    /// Adds the product of the packed blocks to a block of C.
    fn multiply_block(&self, simd: Simd, depth: usize, c: &mut Matrix, block: Block) {
        let Tile { rows, cols } = simd.tile();
        let mut room = [0.0; MAX_TILE];
        let tile = &mut room[..rows * cols];
        let panels_b = self.b.chunks_exact(cols * depth);
        for ((col, used_cols), panel_b) in blocks(block.cols, cols).zip(panels_b) {
            let panels_a = self.a.chunks_exact(rows * depth);
            for ((row, used_rows), panel_a) in blocks(block.rows, rows).zip(panels_a) {
                simd.multiply_panels(panel_a, panel_b, tile);
                for (i, sums) in tile.chunks_exact(cols).take(used_rows).enumerate() {
                    let start = (block.row + row + i) * c.n + block.col + col;
                    let to = &mut c.elements[start..start + used_cols];
                    to.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum);
                }
            }
        }
    }
}

/// Freivalds' check: C x = A (B x) for random vectors x of +1 and -1, in n^2 instead of n^3 operations. Returns the
/// largest difference.
fn check(a: &Matrix, b: &Matrix, c: &Matrix, rng: &mut SplitMix64) -> Result<f64, BenchError> {
    // No element of |A| |B| |x| is above n^2, and n operations round each (Higham, "Accuracy and stability of
    // numerical algorithms", section 3.5).
    let bound = f64::EPSILON * (a.n as f64).powi(3);
    let mut worst = 0.0_f64;
    for _ in 0..PROBES {
        let x: Vec<f64> =
            (0..a.n).map(|_| if rng.next() >> 63 == 0 { 1.0 } else { -1.0 }).collect();
        let (want, got) = (a.times_vector(&b.times_vector(&x)), c.times_vector(&x));
        for (i, (want, got)) in want.iter().zip(&got).enumerate() {
            let error = (want - got).abs();
            if error.is_nan() || error > bound {
                return Err(BenchError::WrongResult {
                    benchmark: "dgemm",
                    what: format!("row {i} of the product is off by {error:e}, at most {bound:e}"),
                });
            }
            worst = worst.max(error);
        }
    }
    Ok(worst)
}

#[cfg(test)]
mod tests {
    use super::{Matrix, Packed, check, multiply, run};
    use crate::{rng::SplitMix64, simd::Simd};

    #[test]
    fn every_instruction_set_multiplies_rightly_whatever_the_edges() {
        let mut rng = SplitMix64::new(3);
        for simd in Simd::available() {
            // Below a tile, around a tile, around the row block, above the depth block.
            for n in [1, 5, 6, 12, 17, 96, 97, 259] {
                let a = Matrix::random(n, &mut rng).unwrap();
                let b = Matrix::random(n, &mut rng).unwrap();
                let mut c = Matrix::zero(n).unwrap();
                multiply(simd, &a, &b, &mut c, &mut Packed::new().unwrap());
                for i in 0..n {
                    for j in 0..n {
                        let want: f64 = (0..n).map(|k| a.row(i)[k] * b.row(k)[j]).sum();
                        assert!((c.row(i)[j] - want).abs() < 1e-12, "{simd:?} {n} {i} {j}");
                    }
                }
            }
        }
    }

    #[test]
    fn one_wrong_element_fails_the_check() {
        let mut rng = SplitMix64::new(4);
        let a = Matrix::random(40, &mut rng).unwrap();
        let b = Matrix::random(40, &mut rng).unwrap();
        let mut c = Matrix::zero(40).unwrap();
        multiply(Simd::best(), &a, &b, &mut c, &mut Packed::new().unwrap());
        assert!(check(&a, &b, &c, &mut rng).is_ok());
        let good = c.elements[777];
        for bad in [good + 1e-9, f64::NAN] {
            c.elements[777] = bad;
            assert!(check(&a, &b, &c, &mut rng).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_small_run_gives_both_figures() {
        let figures = run(64, 3).unwrap();
        assert!(figures.iter().all(|f| f.value > 0.0 && f.n == 3));
    }
}
