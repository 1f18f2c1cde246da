//! Standing in for a program that runs behind the service VM: its streams, its terminal, its signals, its end.
//!
//! With the host as service OS a command becomes the proxy itself. A process cannot move into a VM, so here the command stays and
//! passes on what a program has from its caller.

mod terminal;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use margay_protocol::frame::{self, FrameError};

use crate::control::connection;
use crate::control::message::{FromRelay, Reply};
use crate::node::signals::SignalFd;

pub use terminal::{RawMode, window};

/// How long output may still be on its way when a program has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(2);

/// Where a program's input comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// This process's standard input.
    Standard,
    /// Nowhere: it is at its end.
    Empty,
}

/// Why a program's end is not known.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// It was not started.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// The command's exit status.
        status: u8,
    },
    /// The node went away.
    #[error("the node has gone, and the program with it: {0}")]
    Node(#[from] FrameError),
    /// The streams did not come, or could not be used.
    #[error("cannot pass on the program's streams: {0}")]
    Streams(#[from] io::Error),
}

/// Waits until the node at the other end of `node` has started the program that it was asked for, and then as [`run`].
///
/// # Errors
/// [`RelayError`]
pub fn begin(node: &UnixStream, input: Input) -> Result<(String, u8), RelayError> {
    match frame::read(node)? {
        Reply::Relayed { terminal } => run(node, terminal, input),
        Reply::Refused { message, hint, status } => {
            Err(RelayError::Refused { message, hint, status })
        }
        _ => Err(RelayError::Node(FrameError::Closed)),
    }
}

/// Passes on everything between this process's streams and the program that the node at the other end of `node` has started,
/// having said [`Reply::Relayed`], until its end. Returns a report, in whole lines or empty, and the exit status.
///
/// # Errors
/// [`RelayError`]
pub fn run(node: &UnixStream, terminal: bool, input: Input) -> Result<(String, u8), RelayError> {
    let _raw = terminal.then(RawMode::enter);
    let (done, copied) = mpsc::channel();
    let copies = if terminal {
        let [both] = connection::receive_descriptors::<1>(node)?;
        let back = UnixStream::from(OwnedFd::from(both));
        copy_in(back.try_clone()?, input)?;
        vec![(back, standard(io::stdout())?)]
    } else {
        let [input_end, output, error] = connection::receive_descriptors::<3>(node)?
            .map(|file| UnixStream::from(OwnedFd::from(file)));
        copy_in(input_end, input)?;
        vec![(output, standard(io::stdout())?), (error, standard(io::stderr())?)]
    };
    let count = copies.len();
    for (from, to) in copies {
        let done = done.clone();
        spawn("output", move || {
            copy_out(from, to);
            // Nobody waits any more if the time for it is over.
            let _ = done.send(());
        })?;
    }
    let ended = wait_for_end(node);
    wait_for_output(&copied, count);
    ended
}

fn wait_for_end(node: &UnixStream) -> Result<(String, u8), RelayError> {
    loop {
        match frame::read(node)? {
            Reply::Ended { report, status } => return Ok((report, status)),
            Reply::Refused { message, hint, status } => {
                return Err(RelayError::Refused { message, hint, status });
            }
            _ => {}
        }
    }
}

/// Waits until `count` copies are done: output that was written before the program's end must not be lost.
fn wait_for_output(copied: &Receiver<()>, count: usize) {
    for _ in 0..count {
        if copied.recv_timeout(LAST_OUTPUT).is_err() {
            return;
        }
    }
}

/// Copies standard input in a thread of its own, which ends with the process at the latest.
fn copy_in(mut to: UnixStream, input: Input) -> io::Result<()> {
    if input == Input::Empty {
        return to.shutdown(Shutdown::Write);
    }
    let mut from = standard(io::stdin())?;
    spawn("input", move || {
        // A program that does not read any more is no error of its caller.
        let _ = copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    })
}

/// Copies output. When nobody takes it any more, the program's writes fail as into a closed pipe.
fn copy_out(mut from: UnixStream, mut to: File) {
    if copy(&mut from, &mut to).is_err() {
        let _ = from.shutdown(Shutdown::Both);
    }
}

fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(bytes) => to.write_all(&buffer[..bytes])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A standard stream without Rust's buffer.
fn standard(stream: impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Passes `signals` on to the program, in a thread of its own.
///
/// # Errors
/// No thread.
pub fn forward_signals(signals: SignalFd, node: &UnixStream) -> io::Result<()> {
    let node = node.try_clone()?;
    spawn("signals", move || {
        while let Ok(signal) = signals.take() {
            let message = match (signal, window()) {
                (libc::SIGWINCH, Some(window)) => FromRelay::Resize(window),
                (libc::SIGWINCH, None) => continue,
                (signal, _) => FromRelay::Signal(signal),
            };
            if frame::write(&node, &message).is_err() {
                return;
            }
        }
    })
}
