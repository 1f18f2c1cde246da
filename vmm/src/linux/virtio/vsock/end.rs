//! The device's end of a connection's socket pair.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;

/// One end; when it goes, the other sees the end of the file.
#[derive(Debug)]
pub(super) struct End(UnixStream);

impl End {
    /// A pair: the caller's end, which blocks, and the device's, which does not.
    pub fn pair() -> io::Result<(UnixStream, End)> {
        let (host, device) = UnixStream::pair()?;
        device.set_nonblocking(true)?;
        Ok((host, End(device)))
    }

    /// `read(2)`.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// `write(2)`; Rust's runtime has SIGPIPE ignored.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }

    /// `shutdown(2)`. It fails only when the other end is gone, which the next read or write says as well.
    pub fn shutdown(&self, how: Shutdown) {
        let _ = self.0.shutdown(how);
    }
}

impl AsRawFd for End {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Drop for End {
    /// Linux turns the other side's end of file into ECONNRESET if this end closes with unread bytes, so these are read.
    /// They are no more than a socket's buffer, since nobody can write any more.
    fn drop(&mut self) {
        self.shutdown(Shutdown::Both);
        let mut sink = [0; 4096];
        while matches!(self.read(&mut sink), Ok(1..)) {}
    }
}
