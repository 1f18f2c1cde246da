//! The end of a stream that cannot end: a virtio-serial port stays open, so the node writes a marker.

use std::{fs, io};

/// Where the marker's randomness is from.
pub const SOURCE: &str = "/proc/sys/kernel/random/uuid";

/// A marker that no output contains by chance.
pub fn new() -> io::Result<Vec<u8>> {
    let uuid = fs::read_to_string(SOURCE)?;
    Ok(format!("\0end {}\n", uuid.trim()).into_bytes())
}

/// Passes a stream on up to its marker. Holds back only bytes that may be the marker's beginning, so that a prompt
/// without a newline shows at once.
pub struct UntilMarker<'a> {
    marker: &'a [u8],
    held: Vec<u8>,
}

/// A piece of the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// More follows.
    More(Vec<u8>),
    /// The last bytes before the marker.
    Last(Vec<u8>),
}

impl<'a> UntilMarker<'a> {
    /// A stream that ends with `marker`.
    pub fn new(marker: &'a [u8]) -> Self {
        UntilMarker { marker, held: Vec::new() }
    }

    /// Takes the next bytes as they came, returns what is surely the stream's.
    pub fn feed(&mut self, bytes: &[u8]) -> Piece {
        self.held.extend_from_slice(bytes);
        if let Some(at) = self.held.windows(self.marker.len()).position(|w| w == self.marker) {
            self.held.truncate(at);
            return Piece::Last(std::mem::take(&mut self.held));
        }
        let longest = self.held.len().min(self.marker.len() - 1);
        let kept = (0..=longest).rev().find(|&n| self.held.ends_with(&self.marker[..n]));
        let passed = self.held.len() - kept.expect("everything ends with nothing");
        Piece::More(self.held.drain(..passed).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::{Piece, UntilMarker};

    const MARKER: &[u8] = b"\0end-1";

    #[test]
    fn any_cut_gives_the_same_stream() {
        let body = b"a\0b\0en\0end-\0end-0\n\0".as_slice();
        let stream = [body, MARKER].concat();
        for cut in 1..=stream.len() {
            let mut until = UntilMarker::new(MARKER);
            let mut got = Vec::new();
            let mut ended = false;
            for chunk in stream.chunks(cut) {
                assert!(!ended, "more after the end");
                match until.feed(chunk) {
                    Piece::More(bytes) => got.extend(bytes),
                    Piece::Last(bytes) => {
                        got.extend(bytes);
                        ended = true;
                    }
                }
            }
            assert!(ended);
            assert_eq!(got, body, "in pieces of {cut}");
        }
    }

    #[test]
    fn a_prompt_is_not_held_back() {
        let mut until = UntilMarker::new(MARKER);
        assert_eq!(until.feed(b"login: "), Piece::More(b"login: ".to_vec()));
        assert_eq!(until.feed(b"x\0e"), Piece::More(b"x".to_vec()));
        assert_eq!(until.feed(b"y"), Piece::More(b"\0ey".to_vec()));
    }
}
