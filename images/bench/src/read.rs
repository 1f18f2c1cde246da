//! File input: `read` in large blocks, which an LWK delegates and Linux copies straight into the program's memory.

use std::{
    fs::File,
    io::Read,
    path::Path,
    time::{Duration, Instant},
};

use crate::{buffer::allocate, error::BenchError, figure::Figure, passes::Passes};

/// Reads `file` to its end `passes` times, after once to warm the page cache, in reads of `block` bytes. Only the calls
/// are timed, not the checksum.
///
/// # Errors
/// [`BenchError::Read`], [`BenchError::EmptyFile`]; [`BenchError::WrongResult`] if two passes read different data.
pub fn run(file: &Path, block: usize, passes: u32) -> Result<Vec<Figure>, BenchError> {
    let mut buffer = allocate(block)?;
    buffer.resize(block, 0);
    let first = read_through(file, &mut buffer)?;
    if first.bytes == 0 {
        return Err(BenchError::EmptyFile { path: file.to_owned() });
    }
    let mut seconds = Vec::new();
    for _ in 0..passes {
        let pass = read_through(file, &mut buffer)?;
        if (pass.bytes, pass.checksum) != (first.bytes, first.checksum) {
            return Err(BenchError::WrongResult {
                benchmark: "read",
                what: format!("{} changed, or was read differently", file.display()),
            });
        }
        seconds.push(pass.time.as_secs_f64());
    }
    let passes = Passes::from_seconds(seconds);
    let figure = |metric, seconds| Figure {
        name: "read",
        metric,
        unit: "GB/s",
        value: first.bytes as f64 / 1e9 / seconds,
        seconds: passes.total(),
        n: passes.count(),
        checks: format!("{} bytes, sum {:016x}", first.bytes, first.checksum),
    };
    Ok(vec![figure("best", passes.best()), figure("median", passes.median())])
}

struct Pass {
    bytes: u64,
    checksum: u64,
    /// Spent in `read`.
    time: Duration,
}

fn read_through(path: &Path, buffer: &mut [u8]) -> Result<Pass, BenchError> {
    let failed = |source| BenchError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mut pass = Pass { bytes: 0, checksum: 0, time: Duration::ZERO };
    loop {
        let start = Instant::now();
        let count = file.read(buffer).map_err(failed)?;
        pass.time += start.elapsed();
        if count == 0 {
            return Ok(pass);
        }
        pass.checksum = sum(&buffer[..count], pass.checksum);
        pass.bytes += count as u64;
    }
}

/// Adds up 64-bit words, little-endian, the last padded with zeros, and turns the sum after each block so that the
/// order of blocks matters.
fn sum(block: &[u8], before: u64) -> u64 {
    let (words, tail) = block.as_chunks::<8>();
    let mut last = [0; 8];
    last[..tail.len()].copy_from_slice(tail);
    let words = words.iter().map(|word| u64::from_le_bytes(*word));
    before.rotate_left(7).wrapping_add(words.fold(u64::from_le_bytes(last), u64::wrapping_add))
}

/// Parses a block size: a number of bytes, with K, M or G for powers of 1024.
pub fn parse_block(text: &str) -> Result<usize, String> {
    const MOST: usize = 1 << 30;
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K') => (&text[..text.len() - 1], 10),
        Some(b'M') => (&text[..text.len() - 1], 20),
        Some(b'G') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: usize = digits.parse().map_err(|_| "not a size; write it like 4096, 64K or 1M")?;
    match number.checked_mul(1 << shift) {
        Some(bytes @ 1..=MOST) => Ok(bytes),
        _ => Err("must be from 1 byte to 1G".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::{any, proptest};

    use super::{parse_block, run, sum};
    use crate::error::BenchError;

    #[test]
    fn block_sizes() {
        assert_eq!(parse_block("4096"), Ok(4096));
        assert_eq!(parse_block("64K"), Ok(65_536));
        assert_eq!(parse_block("1M"), Ok(1 << 20));
        for bad in ["", "K", "0", "-1", "1m", "2G", "99999999999999999999", "18014398509481984K"] {
            assert!(parse_block(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_order_of_blocks_and_the_tail_count() {
        let (a, b) = ([1; 16], [2; 16]);
        assert_ne!(sum(&a, sum(&b, 0)), sum(&b, sum(&a, 0)));
        assert_ne!(sum(b"12345678x", 0), sum(b"12345678y", 0));
    }

    #[test]
    fn reads_itself() {
        let program = std::env::current_exe().unwrap();
        let figures = run(&program, 4096, 2).unwrap();
        let bytes = std::fs::metadata(&program).unwrap().len();
        assert!(figures[0].checks.starts_with(&format!("{bytes} bytes")), "{figures:?}");
    }

    #[test]
    fn missing_and_empty_files_are_errors() {
        let missing = run(Path::new("/nonexistent/file"), 16, 1);
        assert!(matches!(missing, Err(BenchError::Read { .. })), "{missing:?}");
        let empty = run(Path::new("/dev/null"), 16, 1);
        assert!(matches!(empty, Err(BenchError::EmptyFile { .. })), "{empty:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_a_size_or_an_error(text in any::<String>()) {
            if let Ok(bytes) = parse_block(&text) {
                assert!((1..=1 << 30).contains(&bytes));
            }
        }
    }
}
