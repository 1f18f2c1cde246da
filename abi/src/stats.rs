//! Call statistics, kept by the LWK when the VMM asks for them.
//!
//! A count for every system call, and for those that were made a latency histogram in TSC cycles, log-linear (as HdrHistogram:
//! 16 steps an octave, so a quantile is at most 6 % off).

use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

/// Call numbers with a count of their own; larger ones share the last.
pub const CALL_NUMBERS: usize = 512;
/// Histograms; when all are taken, further calls share the last.
pub const HISTOGRAMS: usize = 128;

const STEP_BITS: u32 = 4;
const STEPS: u64 = 1 << STEP_BITS;
const BUCKETS: usize = 36 * STEPS as usize;

/// A latency histogram. One writer.
#[derive(Debug)]
#[repr(C)]
pub struct Histogram {
    buckets: [AtomicU32; BUCKETS],
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: [const { AtomicU32::new(0) }; BUCKETS] }
    }
}

impl Histogram {
    /// Counts one event of `cycles`. More than 2^39 cycles count as that.
    pub fn record(&self, cycles: u64) {
        let bucket = &self.buckets[Self::bucket(cycles)];
        bucket.store(bucket.load(Relaxed).saturating_add(1), Relaxed);
    }

    /// Number of events.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|b| u64::from(b.load(Relaxed))).sum()
    }

    /// The value, in cycles, that a fraction `q` (0 to 1) of the events do not exceed: the middle of its bucket. `None`
    /// when there are no events.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        let rank = ((q * count as f64) as u64).min(count.checked_sub(1)?);
        let mut seen = 0;
        for (i, bucket) in self.buckets.iter().enumerate() {
            seen += u64::from(bucket.load(Relaxed));
            if seen > rank {
                return Some((Self::floor(i) + Self::floor(i + 1)) / 2);
            }
        }
        None
    }

    /// Bucket of a value: values below 2 * STEPS have a bucket each, then STEPS buckets an octave.
    const fn bucket(value: u64) -> usize {
        if value < STEPS {
            return value as usize;
        }
        let octave = 63 - value.leading_zeros() - STEP_BITS;
        let bucket = (octave as u64 + 1) * STEPS + ((value >> octave) - STEPS);
        if bucket < BUCKETS as u64 { bucket as usize } else { BUCKETS - 1 }
    }

    /// Smallest value of a bucket.
    const fn floor(bucket: usize) -> u64 {
        let (octave, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
        if octave == 0 { step } else { (STEPS + step) << (octave - 1) }
    }
}

/// The statistics area.
#[derive(Debug)]
#[repr(C)]
pub struct CallStats {
    /// Calls by number.
    pub counts: [AtomicU64; CALL_NUMBERS],
    /// Histogram of each number, plus one; 0: none yet.
    pub slots: [AtomicU8; CALL_NUMBERS],
    /// Histograms given out.
    pub used: AtomicU64,
    /// The histograms.
    pub histograms: [Histogram; HISTOGRAMS],
}

impl CallStats {
    /// Counts a call of number `nr` that took `cycles`. One writer.
    pub fn record(&self, nr: u64, cycles: u64) {
        let nr = (nr as usize).min(CALL_NUMBERS - 1);
        let count = &self.counts[nr];
        count.store(count.load(Relaxed) + 1, Relaxed);
        if self.slots[nr].load(Relaxed) == 0 {
            let slot = (self.used.load(Relaxed) + 1).min(HISTOGRAMS as u64);
            self.used.store(slot, Relaxed);
            self.slots[nr].store(slot as u8, Relaxed);
        }
        self.histograms[self.slots[nr].load(Relaxed) as usize - 1].record(cycles);
    }

    /// The histogram of call number `nr`, if it was ever made.
    pub fn histogram(&self, nr: usize) -> Option<&Histogram> {
        let slot = self.slots.get(nr)?.load(Relaxed) as usize;
        self.histograms.get(slot.checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::{BUCKETS, Histogram};

    #[test]
    fn every_value_lies_between_its_bucket_and_the_next() {
        for shift in 0..38 {
            for value in [1_u64 << shift, (1 << shift) + 1, (3 << shift) / 2, (2 << shift) - 1] {
                let bucket = Histogram::bucket(value);
                assert!(
                    Histogram::floor(bucket) <= value && value < Histogram::floor(bucket + 1),
                    "{value}"
                );
            }
        }
        assert_eq!(Histogram::bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_within_six_percent() {
        let h = Histogram::default();
        assert_eq!(h.quantile(0.5), None);
        (1..=10_000).for_each(|v| h.record(v));
        for q in [0.01, 0.5, 0.99] {
            let (got, want) = (h.quantile(q).unwrap() as f64, q * 10_000.0);
            assert!((got - want).abs() / want < 0.07, "{q}: {got} instead of {want}");
        }
    }
}
