//! Random access to a table far larger than what the TLB covers with small pages: updates that do not depend on each
//! other (as in HPCC's RandomAccess), and a chain of reads each of which needs the one before.
//!
//! Large pages are the whole difference between an LWK and a process here.

use std::time::Instant;

use crate::{
    buffer::allocate,
    error::BenchError,
    figure::Figure,
    passes::Passes,
    rng::{SplitMix64, mix},
};

/// Passes over the same updates. Even: each pair restores the table, since `x ^ r ^ r = x`.
const PASSES: usize = 4;
const SEED: u64 = 0x006d_6172_6761_7921;

/// Runs both over a table of `mib` MiB.
///
/// # Errors
/// [`BenchError::NoMemory`]; [`BenchError::WrongResult`] if the updates do not cancel or the chain ends elsewhere.
pub fn run(mib: u32, millions: u32) -> Result<Vec<Figure>, BenchError> {
    let len = (mib as usize) << 20 >> 3;
    let updates = u64::from(millions) * 1_000_000;
    let mut table: Vec<u64> = allocate(len)?;
    table.extend(0..len as u64);
    let independent = time_updates(&mut table, updates)?;
    let (dependent, links) = time_chain(&table, updates / 4)?;
    let figure = |metric, count: u64, passes: &Passes, checks| Figure {
        name: "random",
        metric,
        unit: "M/s",
        value: count as f64 / passes.median() / 1e6,
        seconds: passes.total(),
        n: passes.count(),
        checks,
    };
    Ok(vec![
        figure("updates", updates, &independent, format!("{len} words restored")),
        figure("dependent reads", links, &dependent, format!("{links} links end where they must")),
    ])
}

/// Where in a table of `len` a random number points: its high bits, so that any length will do.
#[inline(always)]
fn place(random: u64, len: usize) -> usize {
    ((u128::from(random) * len as u128) >> 64) as usize
}

/// Makes the same updates an even number of times. `table[i]` must be `i`, and is again.
fn time_updates(table: &mut [u64], updates: u64) -> Result<Passes, BenchError> {
    let mut seconds = Vec::with_capacity(PASSES);
    for _ in 0..PASSES {
        let start = Instant::now();
        update(table, updates);
        seconds.push(start.elapsed().as_secs_f64());
    }
    match table.iter().zip(0..).find(|&(&word, i)| word != i) {
        None => Ok(Passes::from_seconds(seconds)),
        Some((word, i)) => Err(BenchError::WrongResult {
            benchmark: "random",
            what: format!("word {i} is {word:#x} after the updates were undone"),
        }),
    }
}

fn update(table: &mut [u64], updates: u64) {
    let mut rng = SplitMix64::new(SEED);
    for _ in 0..updates {
        let random = rng.next();
        table[place(random, table.len())] ^= random;
    }
}

/// Follows a chain whose next place depends on the word read. `table[i]` must be `i`, so the end is known without
/// the table.
fn time_chain(table: &[u64], links: u64) -> Result<(Passes, u64), BenchError> {
    let mut want = SEED;
    for _ in 0..links {
        want = mix(want ^ place(want, table.len()) as u64);
    }
    let mut got = SEED;
    let start = Instant::now();
    for _ in 0..links {
        got = mix(got ^ table[place(got, table.len())]);
    }
    let seconds = start.elapsed().as_secs_f64();
    if got != want {
        return Err(BenchError::WrongResult {
            benchmark: "random",
            what: format!("the chain ended at {got:#x}, not {want:#x}"),
        });
    }
    Ok((Passes::from_seconds(vec![seconds]), links))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{place, run, time_chain, time_updates, update};

    #[test]
    fn a_small_run_gives_both_figures() {
        let figures = run(1, 1).unwrap();
        assert!(figures.iter().all(|f| f.value > 0.0));
    }

    #[test]
    fn updates_change_the_table_and_again_restore_it() {
        let mut table: Vec<u64> = (0..1000).collect();
        update(&mut table, 10_000);
        assert!(table.iter().zip(0..).any(|(&word, i)| word != i));
        update(&mut table, 10_000);
        assert!(table.iter().zip(0..).all(|(&word, i)| word == i));
    }

    #[test]
    fn one_flipped_bit_is_found() {
        let mut table: Vec<u64> = (0..1000).collect();
        table[700] ^= 4;
        assert!(time_updates(&mut table, 1000).unwrap_err().to_string().contains("word 700"));
        assert!(time_chain(&table, 100_000).is_err());
    }

    proptest! {
        #[test]
        fn places_are_inside_the_table(random in any::<u64>(), len in 1..usize::MAX) {
            assert!(place(random, len) < len);
        }
    }
}
