//! Frames: a 32-bit little-endian length, then that many bytes of JSON.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// The longest frame: far more than Linux lets arguments and environment be.
pub const MAX_BYTES: usize = 16 << 20;

/// Why there is no message.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The other side has closed, between two frames.
    #[error("the other side has closed the connection")]
    Closed,
    /// The connection failed, or ended inside a frame.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
    /// A frame that is longer than any message.
    #[error("a message of {0} bytes, more than any may have")]
    TooLong(usize),
    /// Not a message of this version.
    #[error(
        "a message that cannot be understood ({0}); both sides must come from the same build of margay"
    )]
    Malformed(#[source] serde_json::Error),
}

/// Writes `message` as one frame, by one `write`.
///
/// # Errors
/// The connection's; `InvalidInput` for a message longer than [`MAX_BYTES`].
pub fn write(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    to.write_all(&encode(message)?)
}

/// The bytes of `message` as one frame.
///
/// # Errors
/// `InvalidInput` for a message longer than [`MAX_BYTES`].
pub fn encode(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let bytes = frame.len() - 4;
    if bytes > MAX_BYTES {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    frame[..4].copy_from_slice(&(bytes as u32).to_le_bytes());
    Ok(frame)
}

/// Reads one frame.
///
/// # Errors
/// [`FrameError`]
pub fn read<T: DeserializeOwned>(mut from: impl Read) -> Result<T, FrameError> {
    let mut length = [0; 4];
    match from.read(&mut length[..1]) {
        Ok(0) => return Err(FrameError::Closed),
        Ok(_) => from.read_exact(&mut length[1..]).map_err(FrameError::Io)?,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {
            from.read_exact(&mut length).map_err(FrameError::Io)?;
        }
        Err(error) => return Err(FrameError::Io(error)),
    }
    let bytes = u32::from_le_bytes(length) as usize;
    if bytes > MAX_BYTES {
        return Err(FrameError::TooLong(bytes));
    }
    let mut json = Vec::new();
    from.take(bytes as u64).read_to_end(&mut json).map_err(FrameError::Io)?;
    if json.len() < bytes {
        return Err(FrameError::Io(io::ErrorKind::UnexpectedEof.into()));
    }
    serde_json::from_slice(&json).map_err(FrameError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::{FrameError, MAX_BYTES, encode, read};

    #[test]
    fn messages_follow_each_other() {
        let mut bytes = encode(&(1, "one")).unwrap();
        bytes.extend(encode(&(2, "two")).unwrap());
        let mut from = &bytes[..];
        assert_eq!(read::<(u8, String)>(&mut from).unwrap(), (1, "one".to_owned()));
        assert_eq!(read::<(u8, String)>(&mut from).unwrap(), (2, "two".to_owned()));
        assert!(matches!(read::<u8>(&mut from), Err(FrameError::Closed)));
    }

    #[test]
    fn what_is_no_message_is_an_error_and_takes_no_memory() {
        let too_long = ((MAX_BYTES + 1) as u32).to_le_bytes();
        assert!(matches!(read::<u8>(&too_long[..]), Err(FrameError::TooLong(_))));
        let cut = [8, 0, 0, 0, b'1'];
        assert!(matches!(read::<u8>(&cut[..]), Err(FrameError::Io(_))));
        assert!(matches!(read::<u8>(&cut[..2]), Err(FrameError::Io(_))));
        let garbage = [1, 0, 0, 0, b'}'];
        assert!(matches!(read::<u8>(&garbage[..]), Err(FrameError::Malformed(_))));
    }
}
