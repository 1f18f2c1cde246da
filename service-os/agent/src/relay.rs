//! Carrying bytes between a stream of the node and what a program has in its place.
//!
//! A program could have the streams themselves, which are sockets; but a shell's `> /dev/stderr` opens its standard error anew,
//! which no socket permits (`ENXIO`), and bash takes a socket for a remote login and reads `~/.bashrc`. So it has pipes, as from a
//! shell.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use nix::sys::socket::{Shutdown, shutdown};

/// Bytes carried at a time: what a pipe holds.
const PIECE: usize = 64 << 10;

/// A pipe that brings what comes from `stream`.
///
/// # Errors
/// There can be no pipe or no thread.
pub fn input(stream: OwnedFd) -> io::Result<PipeReader> {
    let (program, ours) = io::pipe()?;
    // It ends when the node closes the stream, or, at the next byte, when nobody reads.
    thread::Builder::new().spawn(move || carry(File::from(stream), ours))?;
    Ok(program)
}

/// A pipe whose bytes go to `stream`, which ends when nobody holds the pipe open any more.
///
/// # Errors
/// There can be no pipe or no thread.
pub fn output(stream: OwnedFd) -> io::Result<PipeWriter> {
    let (ours, program) = io::pipe()?;
    let stream = File::from(stream);
    thread::Builder::new().spawn(move || {
        carry(ours, &stream);
        end_of(&stream);
    })?;
    Ok(program)
}

/// Copies until either side ends. `EIO` is a terminal's end.
pub fn carry(mut from: impl Read, mut to: impl Write) {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(count @ 1..) if to.write_all(&piece[..count]).is_ok() => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}

/// Nothing more comes on `stream`.
pub fn end_of(stream: &File) {
    // The node may have closed it.
    let _ = shutdown(stream.as_raw_fd(), Shutdown::Write);
}
