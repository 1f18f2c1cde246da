//! Repeated timed passes: the best shows the machine, the median what one gets.

use std::time::Instant;

/// Wall times of the passes of a benchmark.
#[derive(Debug)]
pub struct Passes {
    sorted_seconds: Vec<f64>,
}

impl Passes {
    /// Runs `pass` once to warm caches and tables, then `count` (at least 1) times with a clock.
    pub fn measure(count: u32, mut pass: impl FnMut()) -> Passes {
        pass();
        let timed = |_| {
            let start = Instant::now();
            pass();
            start.elapsed().as_secs_f64()
        };
        Passes::from_seconds((0..count.max(1)).map(timed).collect())
    }

    /// Passes that were timed elsewhere; not empty.
    pub fn from_seconds(mut seconds: Vec<f64>) -> Passes {
        assert!(!seconds.is_empty(), "no passes");
        seconds.sort_by(f64::total_cmp);
        Passes { sorted_seconds: seconds }
    }

    /// Time of the fastest pass, in seconds.
    pub fn best(&self) -> f64 {
        self.sorted_seconds[0]
    }

    /// Time of the median pass, in seconds.
    pub fn median(&self) -> f64 {
        self.sorted_seconds[self.sorted_seconds.len() / 2]
    }

    /// Time of all passes together, in seconds.
    pub fn total(&self) -> f64 {
        self.sorted_seconds.iter().sum()
    }

    /// Number of passes.
    pub fn count(&self) -> u32 {
        self.sorted_seconds.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::Passes;

    #[test]
    fn best_median_and_total_of_unsorted_times() {
        let passes = Passes::from_seconds(vec![3.0, 1.0, 2.0]);
        assert_eq!((passes.best(), passes.median(), passes.total()), (1.0, 2.0, 6.0));
        assert_eq!(passes.count(), 3);
    }

    #[test]
    fn the_warm_up_pass_is_not_counted() {
        let mut calls = 0;
        assert_eq!(Passes::measure(4, || calls += 1).count(), 4);
        assert_eq!(calls, 5);
    }
}
