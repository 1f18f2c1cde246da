//! The control connection: what the proxy's maker has to say, in a thread of its own.
//!
//! A server polls guest memory, sleeps on the doorbell, or waits in a call that its program made, perhaps for ever. It cannot
//! listen as well without being slower, so another thread does, which sleeps in `poll` until the node says that the LWK is gone,
//! or is gone itself. It blocks all signals, so that the program's go to the server's thread, but for [`SIGNAL`], with
//! which a user asks where the program is: the node is asked before the process dies of it. So it is when the program dies of a fault. It has a descriptor table of its own:
//! a shared one would cost every delegated call on a descriptor an atomic reference (Linux, `__fdget`), and its descriptors would be
//! among the program's.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicI32};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use margay_protocol::frame::{self, FrameError};
use margay_protocol::proxy::{FromProxy, ToProxy};

use crate::{FAILED, raw};

/// The signal that this thread takes: Ctrl-\.
pub const SIGNAL: i32 = libc::SIGQUIT;
/// How long somebody who finds the doorbell dead waits for this thread to say why.
pub const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long the node may take to say where the program is.
const PATIENCE: Duration = Duration::from_secs(1);
/// Enough for the JSON of a message, which is not nested.
const STACK: usize = 128 << 10;

/// Whether there is a watcher.
static WATCHED: AtomicBool = AtomicBool::new(false);
/// The signal that the program dies of, once it does; else 0.
static DYING: AtomicI32 = AtomicI32::new(0);

/// Dies of `signal`, the program's fault. Where there is a watcher, the node is first asked what happened, for the user.
pub fn die_of_fault(signal: i32) -> ! {
    if WATCHED.load(Relaxed) {
        DYING.store(signal, Release);
        raw::send_to_self(SIGNAL);
        // The watcher ends the process; should it be unable to, this thread does.
        thread::sleep(PATIENCE * 2);
    }
    raw::die_by(signal)
}

/// Watches `control`, a stream socket. [`SIGNAL`] must be blocked by now, in the caller's thread.
///
/// # Errors
/// The thread or its descriptors cannot be had.
pub fn start(control: File) -> io::Result<()> {
    let control = UnixStream::from(OwnedFd::from(control));
    // As its maker may have used it.
    control.set_nonblocking(false)?;
    let (ready, is_ready) = mpsc::sync_channel(1);
    thread::Builder::new().name("watch".to_owned()).stack_size(STACK).spawn(move || {
        match Watcher::set_up(control) {
            Ok(watcher) => {
                WATCHED.store(true, Relaxed);
                let _ = ready.send(Ok(()));
                watcher.run()
            }
            Err(error) => _ = ready.send(Err(error)),
        }
    })?;
    is_ready.recv().unwrap_or_else(|_| Err(io::Error::other("the thread has ended")))
}

struct Watcher {
    control: UnixStream,
    signals: File,
}

impl Watcher {
    /// Makes this thread the watcher.
    fn set_up(control: UnixStream) -> io::Result<Watcher> {
        raw::block_all();
        raw::keep_only([libc::STDERR_FILENO, control.as_raw_fd()])?;
        Ok(Watcher { signals: raw::signal_events(SIGNAL)?, control })
    }

    fn run(mut self) -> ! {
        loop {
            match raw::wait_readable([self.control.as_fd(), self.signals.as_fd()]) {
                Ok([true, _]) => self.listen(),
                Ok([false, true]) => self.answer_signal(),
                Ok([false, false]) => {}
                Err(error) => end(&format!("margay-proxy: cannot watch the node: {error}"), FAILED),
            }
        }
    }

    /// Takes one message. An answer that comes too late is dropped.
    fn listen(&self) {
        match frame::read(&self.control) {
            Ok(ToProxy::End { message, status }) => end(&message, status),
            Ok(ToProxy::Report { .. }) => {}
            Err(error) => end(&farewell(&error), FAILED),
        }
    }

    /// Dies of the signal, but first says where the program is.
    fn answer_signal(&mut self) {
        // The kernel's `signalfd_siginfo`; whose signal it was does not matter.
        let taken = self.signals.read(&mut [0; size_of::<libc::signalfd_siginfo>()]);
        let dying = DYING.load(Acquire);
        // A blocked signal is delivered even where it is ignored.
        if taken.is_err() || (dying == 0 && raw::is_ignored(SIGNAL)) {
            return;
        }
        match self.ask() {
            Some(report) => print(&report),
            None => print("margay-proxy: the node does not say where the program is"),
        }
        raw::die_by(if dying == 0 { SIGNAL } else { dying })
    }

    fn ask(&self) -> Option<String> {
        frame::write(&self.control, &FromProxy::Where).ok()?;
        self.control.set_read_timeout(Some(PATIENCE)).ok()?;
        match frame::read(&self.control).ok()? {
            ToProxy::Report { text } => Some(text),
            ToProxy::End { message, status } => end(&message, status),
        }
    }
}

fn farewell(error: &FrameError) -> String {
    match error {
        FrameError::Closed => "margay-proxy: the node is gone".to_owned(),
        error => format!("margay-proxy: lost the node: {error}"),
    }
}

/// Ends the process, whatever its other thread does.
fn end(message: &str, status: u8) -> ! {
    print(message);
    raw::exit(status.into())
}

/// Prints whole lines. Where nobody reads them there is nobody to tell.
fn print(text: &str) {
    let _ = writeln!(io::stderr(), "{}", text.trim_end_matches('\n'));
}
