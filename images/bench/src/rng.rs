//! SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): small, fast, and the
//! same numbers on every run.

/// The generator. Its n-th number depends only on the seed and n, so numbers can be computed in parallel.
#[derive(Clone, Debug)]
pub struct SplitMix64 {
    state: u64,
}

impl SplitMix64 {
    /// A generator that starts from `seed`.
    pub const fn new(seed: u64) -> SplitMix64 {
        SplitMix64 { state: seed }
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// The next number in [-1, 1).
    pub fn next_signed_unit(&mut self) -> f64 {
        // The 53 high bits are the mantissa of a number in [0, 2).
        (self.next() >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}

/// Mixes all bits of `x` into all bits of the result; a bijection.
pub const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::SplitMix64;

    #[test]
    fn first_numbers_are_those_of_the_reference_implementation() {
        let mut rng = SplitMix64::new(1_234_567);
        assert_eq!(rng.next(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn signed_units_are_in_range_and_balanced() {
        let mut rng = SplitMix64::new(7);
        let sum: f64 = (0..100_000)
            .map(|_| rng.next_signed_unit())
            .inspect(|x| assert!((-1.0..1.0).contains(x)))
            .sum();
        assert!(sum.abs() < 1_000.0, "{sum}");
    }
}
