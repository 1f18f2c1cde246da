//! What stands for a program on Linux, as the node sees it: something that ends, asks, and can be ended.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use margay_protocol::agent::Ending;
use margay_protocol::frame;
use margay_protocol::proxy::{FromProxy, ToProxy};

use super::poll;

/// What a stand-in has to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// Nothing that the node must act on.
    Nothing,
    /// Where is the program? See [`StandIn::tell_place`].
    Where,
    /// It has ended; how, if that can be known.
    Ended(Option<Ending>),
}

/// A program's stand-in.
pub trait StandIn {
    /// Its process, if that is one of this host.
    fn process(&self) -> Option<OwnedFd>;

    /// Descriptors that become readable when it has something to say.
    fn sources(&self) -> Vec<RawFd>;

    /// `source` is readable.
    fn ready(&mut self, source: RawFd) -> Notice;

    /// Answers [`Notice::Where`], in whole lines.
    fn tell_place(&mut self, text: &str);

    /// Ends it because its LWK is gone: it says `message`, whole lines, to the user, and exits with status 125.
    fn end(&mut self, message: &str);

    /// Waits for its end, at most `limit`. `None` if it has not ended. Questions are answered with `place`.
    fn wait(&mut self, limit: Duration, place: &dyn Fn() -> String) -> Option<Option<Ending>> {
        let start = Instant::now();
        loop {
            let sources = self.sources();
            let ready = poll::readable(&sources, limit.saturating_sub(start.elapsed()));
            for &source in &ready {
                match self.ready(source) {
                    Notice::Nothing => {}
                    Notice::Where => self.tell_place(&place()),
                    Notice::Ended(ending) => return Some(ending),
                }
            }
            if ready.is_empty() && start.elapsed() >= limit {
                return None;
            }
        }
    }
}

/// A proxy on this host that another process has become: known by its connection.
#[derive(Debug)]
pub struct Attached {
    stream: UnixStream,
    process: Option<OwnedFd>,
}

impl Attached {
    /// The process `pid` at the other end of `stream`.
    pub fn new(stream: UnixStream, pid: u32) -> Attached {
        Attached { stream, process: pidfd(pid).ok() }
    }

    /// Sends a message. A proxy that is gone needs none.
    fn send(&mut self, message: &ToProxy) {
        let _ = frame::write(&self.stream, message);
    }
}

impl StandIn for Attached {
    fn process(&self) -> Option<OwnedFd> {
        self.process.as_ref()?.try_clone().ok()
    }

    fn sources(&self) -> Vec<RawFd> {
        vec![self.stream.as_raw_fd()]
    }

    fn ready(&mut self, _: RawFd) -> Notice {
        match frame::read(&self.stream) {
            Ok(FromProxy::Where) => Notice::Where,
            Err(_) => Notice::Ended(None),
        }
    }

    fn tell_place(&mut self, text: &str) {
        self.send(&ToProxy::Report { text: text.to_owned() });
    }

    /// Tells it, and makes sure: a proxy that does not read its messages is killed, if this process may.
    fn end(&mut self, message: &str) {
        const PATIENCE: Duration = Duration::from_secs(1);
        self.send(&ToProxy::End { message: message.to_owned(), status: 125 });
        if let (None, Some(process)) = (self.wait(PATIENCE, &String::new), &self.process) {
            send_signal(process, libc::SIGKILL);
        }
    }
}

/// Sends a signal by pidfd, which cannot hit another process. One that has ended, or is not this user's, gets none.
pub fn send_signal(process: &OwnedFd, signal: i32) {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: takes integers and a null pointer, which means a plain signal.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, no_info, 0) };
}

/// A descriptor that stands for process `pid` and becomes readable when it has ended.
///
/// # Errors
/// `ESRCH`: there is no such process.
pub fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes integers; the result is checked.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { File::from_raw_fd(fd as RawFd) }.into())
}
