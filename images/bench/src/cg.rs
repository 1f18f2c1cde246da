//! Sparse linear algebra: conjugate gradients (Hestenes and Stiefel, 1952) without preconditioning on the 27-point
//! matrix, as an implicit solver spends its time: streaming a matrix, gathering a vector.

use std::time::Instant;

use crate::{
    buffer::{Aligned, allocate},
    error::BenchError,
    figure::Figure,
    stencil::{self, Csr},
};

/// State of the iteration, and its scratch.
struct Solver {
    solution: Aligned,
    residual: Aligned,
    direction: Aligned,
    image: Aligned,
    /// Square of the norm of `residual`.
    rho: f64,
}

/// Solves A x = b for x = 1 in a fixed number of iterations on a grid of `edge`^3 points.
///
/// # Errors
/// [`BenchError::NoMemory`]; [`BenchError::WrongResult`] if the solution is not as good as theory promises.
pub fn run(edge: u32, iterations: u32) -> Result<Vec<Figure>, BenchError> {
    let matrix = Csr::stencil27(edge as usize)?;
    let ones = Aligned::filled(matrix.rows(), 1.0)?;
    let mut right_side = Aligned::filled(matrix.rows(), 0.0)?;
    matrix.multiply(&ones, &mut right_side);
    let mut solver = Solver::new(&right_side)?;
    let start = Instant::now();
    let mut done = 0;
    // Small systems are solved before: going on would divide zero by zero.
    while done < iterations && solver.rho > 0.0 {
        solver.iterate(&matrix);
        done += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let left =
        check(&matrix, &right_side, &solver, Expected { edge: edge as usize, iterations: done })?;
    let work = 2 * matrix.elements() + 10 * matrix.rows();
    Ok(vec![Figure {
        name: "cg",
        metric: "rate",
        unit: "MFLOP/s",
        value: work as f64 * f64::from(done) / seconds / 1e6,
        seconds,
        n: done,
        checks: format!("{} rows, error fell to {left:.1e}", matrix.rows()),
    }])
}

impl Solver {
    /// Starts from x = 0, where the residual is the right side.
    fn new(right_side: &[f64]) -> Result<Solver, BenchError> {
        let rows = right_side.len();
        let mut solver = Solver {
            solution: Aligned::filled(rows, 0.0)?,
            residual: Aligned::filled(rows, 0.0)?,
            direction: Aligned::filled(rows, 0.0)?,
            image: Aligned::filled(rows, 0.0)?,
            rho: dot(right_side, right_side),
        };
        solver.residual.copy_from_slice(right_side);
        solver.direction.copy_from_slice(right_side);
        Ok(solver)
    }

    fn iterate(&mut self, matrix: &Csr) {
        matrix.multiply(&self.direction, &mut self.image);
        let step = self.rho / dot(&self.direction, &self.image);
        add_scaled(&mut self.solution, step, &self.direction);
        add_scaled(&mut self.residual, -step, &self.image);
        let rho = dot(&self.residual, &self.residual);
        let keep = rho / self.rho;
        for (direction, residual) in self.direction.iter_mut().zip(self.residual.iter()) {
            *direction = residual + keep * *direction;
        }
        self.rho = rho;
    }
}

/// What the convergence depends on.
#[derive(Clone, Copy)]
struct Expected {
    edge: usize,
    iterations: u32,
}

impl Expected {
    /// The most that may be left of the error after the iterations, in the norm of A: 2 ((sqrt k - 1) / (sqrt k + 1))^n
    /// for condition k (Golub and Van Loan, "Matrix computations", 4th edition, section 11.3.3).
    fn bound(self) -> f64 {
        let root = stencil::condition(self.edge).sqrt();
        2.0 * ((root - 1.0) / (root + 1.0)).powf(f64::from(self.iterations))
    }
}

/// Checks that the residual carried along is the true one, and that the error fell as theory says. Returns what is left
/// of the error, as a fraction of the first.
fn check(
    matrix: &Csr,
    right_side: &[f64],
    solver: &Solver,
    expected: Expected,
) -> Result<f64, BenchError> {
    let wrong = |what| Err(BenchError::WrongResult { benchmark: "cg", what });
    let mut image = allocate(matrix.rows())?;
    image.resize(matrix.rows(), 0.0);
    matrix.multiply(&solver.solution, &mut image);
    let drift: f64 = (right_side.iter().zip(&image).zip(solver.residual.iter()))
        .map(|((b, ax), r)| (b - ax - r).powi(2))
        .sum();
    let drift = (drift / dot(right_side, right_side)).sqrt();
    if drift.is_nan() || drift > 1e-12 {
        return wrong(format!("the residual is off by {drift:e} of the right side"));
    }
    // The solution is 1 and A 1 = b, so the error is e = 1 - x, A e = b - A x, and at the start e'Ae = 1'b.
    let energy: f64 = (right_side.iter().zip(&image).zip(solver.solution.iter()))
        .map(|((b, ax), x)| (1.0 - x) * (b - ax))
        .sum();
    let left = (energy.max(0.0) / right_side.iter().sum::<f64>()).sqrt();
    // Rounding alone leaves about 1e-15 of the error.
    let bound = expected.bound() + 1e-12;
    if energy.is_nan() || left > bound {
        return wrong(format!("{left:e} of the error is left, more than {bound:e}"));
    }
    Ok(left)
}

/// Partial sums, so that the additions need not wait for each other.
const LANES: usize = 8;

fn dot(x: &[f64], y: &[f64]) -> f64 {
    let (x, y) = (x.chunks_exact(LANES), y.chunks_exact(LANES));
    let tail: f64 = x.remainder().iter().zip(y.remainder()).map(|(x, y)| x * y).sum();
    let mut sums = [0.0; LANES];
    for (x, y) in x.zip(y) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += x * y;
        }
    }
    sums.iter().sum::<f64>() + tail
}

/// `y += factor * x`.
fn add_scaled(y: &mut [f64], factor: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

#[cfg(test)]
mod tests {
    use super::{Expected, Solver, check, dot, run};
    use crate::stencil::Csr;

    #[test]
    fn converges_on_grids_of_every_size() {
        for edge in [2, 3, 8, 20] {
            let figures = run(edge, 40).unwrap();
            assert!(figures[0].value > 0.0, "{edge}");
        }
    }

    #[test]
    fn a_wrong_solution_or_residual_fails_the_check() {
        let matrix = Csr::stencil27(10).unwrap();
        let mut right_side = vec![0.0; 1000];
        matrix.multiply(&[1.0; 1000], &mut right_side);
        let expected = Expected { edge: 10, iterations: 20 };
        let solve = || {
            let mut solver = Solver::new(&right_side).unwrap();
            (0..20).for_each(|_| solver.iterate(&matrix));
            solver
        };
        let mut solver = solve();
        assert!(check(&matrix, &right_side, &solver, expected).is_ok());
        solver.solution[500] += 1e-6;
        assert!(check(&matrix, &right_side, &solver, expected).is_err());
        solver.solution[500] = f64::NAN;
        assert!(check(&matrix, &right_side, &solver, expected).is_err());
    }

    #[test]
    fn too_few_iterations_fail_the_check() {
        let matrix = Csr::stencil27(10).unwrap();
        let mut right_side = vec![0.0; 1000];
        matrix.multiply(&[1.0; 1000], &mut right_side);
        let mut solver = Solver::new(&right_side).unwrap();
        solver.iterate(&matrix);
        let expected = Expected { edge: 10, iterations: 30 };
        assert!(check(&matrix, &right_side, &solver, expected).is_err());
    }

    #[test]
    fn dot_takes_the_tail_too() {
        let x: Vec<f64> = (0..19).map(f64::from).collect();
        assert_eq!(dot(&x, &x), (0..19).map(|i| f64::from(i * i)).sum::<f64>());
    }
}
