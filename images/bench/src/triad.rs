//! Memory bandwidth: the triad of McCalpin's STREAM, `a = b + s * c` over arrays far larger than the caches.

use crate::{buffer::Aligned, error::BenchError, figure::Figure, passes::Passes, simd::Simd};

const SCALAR: f64 = 3.0;
const B: f64 = 2.0;

/// Runs the triad over arrays of `mib` MiB each. GB/s count the 24 bytes an element that the program asks for.
///
/// # Errors
/// [`BenchError::NoMemory`]; [`BenchError::WrongResult`] if an element of `a` is not exactly right.
pub fn run(mib: u32, passes: u32) -> Result<Vec<Figure>, BenchError> {
    let len = (mib as usize) << 20 >> 3;
    let simd = Simd::best();
    let mut a = Aligned::filled(len, 0.0)?;
    let b = Aligned::filled(len, B)?;
    let mut c = Aligned::filled(len, 0.0)?;
    // Small whole numbers: their sums and products are exact, fused or not.
    for (i, c) in c.iter_mut().enumerate() {
        *c = element(i);
    }
    let passes = Passes::measure(passes, || simd.triad(&mut a, &b, &c, SCALAR));
    check(&a)?;
    let gigabytes = (3 * len * size_of::<f64>()) as f64 / 1e9;
    let figure = |metric, seconds| Figure {
        name: "triad",
        metric,
        unit: "GB/s",
        value: gigabytes / seconds,
        seconds: passes.total(),
        n: passes.count(),
        checks: format!("{len} elements exact, {}", simd.name()),
    };
    Ok(vec![figure("best", passes.best()), figure("median", passes.median())])
}

fn element(i: usize) -> f64 {
    (i % 1021) as f64
}

fn check(a: &[f64]) -> Result<(), BenchError> {
    match a.iter().enumerate().find(|&(i, &a)| a != B + SCALAR * element(i)) {
        None => Ok(()),
        Some((i, a)) => Err(BenchError::WrongResult {
            benchmark: "triad",
            what: format!("a[{i}] is {a}, not {}", B + SCALAR * element(i)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::{check, run};

    #[test]
    fn a_small_run_gives_both_figures() {
        let figures = run(1, 2).unwrap();
        assert_eq!(figures.len(), 2);
        assert!(figures.iter().all(|f| f.value > 0.0 && f.n == 2));
        assert!(figures[0].value >= figures[1].value);
    }

    #[test]
    fn one_wrong_element_is_found() {
        let mut a: Vec<f64> = (0..5000).map(|i| 2.0 + 3.0 * f64::from(i % 1021)).collect();
        assert!(check(&a).is_ok());
        a[4321] += 1.0;
        assert!(check(&a).unwrap_err().to_string().contains("a[4321]"));
    }
}
