//! The matrix of the conjugate-gradient benchmark: 27 points around each point of a cubic grid, as in HPCG.
//!
//! 26 on the diagonal and -1 for each neighbour in the grid: symmetric and positive definite. It is 27 I minus the third
//! tensor power of the tridiagonal matrix (1, 1, 1), so its extreme eigenvalues are known and say how fast conjugate
//! gradients must converge.

use std::f64::consts::PI;

use crate::{buffer::allocate, error::BenchError};

/// A sparse square matrix by rows (CSR).
#[derive(Debug)]
pub struct Csr {
    /// Start of each row in `columns` and `values`, and their length.
    row_starts: Vec<u32>,
    columns: Vec<u32>,
    values: Vec<f64>,
}

impl Csr {
    /// The 27-point matrix of a grid of `edge`^3 points; `edge` is at most 512, so that 32 bits count its elements.
    ///
    /// # Errors
    /// [`BenchError::NoMemory`].
    pub fn stencil27(edge: usize) -> Result<Csr, BenchError> {
        let elements = (3 * edge - 2).pow(3);
        let mut matrix = Csr {
            row_starts: allocate(edge.pow(3) + 1)?,
            columns: allocate(elements)?,
            values: allocate(elements)?,
        };
        matrix.row_starts.push(0);
        for z in 0..edge {
            for y in 0..edge {
                for x in 0..edge {
                    matrix.push_row(edge, [x, y, z]);
                }
            }
        }
        Ok(matrix)
    }

    fn push_row(&mut self, edge: usize, [x, y, z]: [usize; 3]) {
        let near = |at: usize| at.saturating_sub(1)..=(at + 1).min(edge - 1);
        for nz in near(z) {
            for ny in near(y) {
                for nx in near(x) {
                    self.columns.push(((nz * edge + ny) * edge + nx) as u32);
                    self.values.push(if [nx, ny, nz] == [x, y, z] { 26.0 } else { -1.0 });
                }
            }
        }
        self.row_starts.push(self.columns.len() as u32);
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.row_starts.len() - 1
    }

    /// Elements that are not zero.
    pub fn elements(&self) -> usize {
        self.values.len()
    }

    /// `y = A x`.
    pub fn multiply(&self, x: &[f64], y: &mut [f64]) {
        for (y, bounds) in y.iter_mut().zip(self.row_starts.windows(2)) {
            let row = bounds[0] as usize..bounds[1] as usize;
            let elements = self.values[row.clone()].iter().zip(&self.columns[row]);
            *y = elements.map(|(value, &column)| value * x[column as usize]).sum();
        }
    }
}

/// Condition number of the 27-point matrix: its largest eigenvalue over its smallest. Those of the tridiagonal
/// matrix are 1 + 2 cos(j pi / (edge + 1)).
pub fn condition(edge: usize) -> f64 {
    let eigenvalue = |j: usize| 1.0 + 2.0 * (j as f64 * PI / (edge as f64 + 1.0)).cos();
    let (most, least) = (eigenvalue(1), eigenvalue(edge));
    // Of all products of three, the largest is most^3 and the smallest least * most^2 (least < 0 < most) or least^3.
    let lowest_product = (least * most * most).min(least.powi(3));
    (27.0 - lowest_product) / (27.0 - most.powi(3))
}

#[cfg(test)]
mod tests {
    use super::{Csr, condition};

    #[test]
    fn rows_have_8_elements_at_a_corner_and_27_inside() {
        let matrix = Csr::stencil27(4).unwrap();
        assert_eq!((matrix.rows(), matrix.elements()), (64, 1000));
        assert_eq!(matrix.row_starts[1] - matrix.row_starts[0], 8);
        let inside = (4 + 1) * 4 + 1;
        assert_eq!(matrix.row_starts[inside + 1] - matrix.row_starts[inside], 27);
    }

    #[test]
    fn is_symmetric_and_its_row_sums_are_those_of_the_stencil() {
        let matrix = Csr::stencil27(3).unwrap();
        let column = |j| {
            let (mut x, mut y) = (vec![0.0; 27], vec![0.0; 27]);
            x[j] = 1.0;
            matrix.multiply(&x, &mut y);
            y
        };
        let dense: Vec<Vec<f64>> = (0..27).map(column).collect();
        for (i, row) in dense.iter().enumerate() {
            for (j, element) in row.iter().enumerate() {
                assert_eq!(*element, dense[j][i]);
            }
        }
        assert_eq!(dense[13].iter().sum::<f64>(), 0.0);
        assert_eq!(dense[0].iter().sum::<f64>(), 26.0 - 7.0);
    }

    #[test]
    fn condition_of_the_smallest_grid_is_that_of_its_dense_matrix() {
        // Two points an edge: every row is 26 on the diagonal and -1 seven times; eigenvalues 19 and 27.
        assert!((condition(2) - 27.0 / 19.0).abs() < 1e-12);
    }
}
