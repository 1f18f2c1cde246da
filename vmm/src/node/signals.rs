//! The signals that mean the program, or the node, rather than this process: taken from a descriptor.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

/// They end a program that does not handle them, or ask where it is.
const TAKEN: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// What a command that stands in for a program takes too.
const RELAYED: [i32; 3] = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH];

/// The signals that mean a program or a node, as a set.
pub fn signal_set() -> libc::sigset_t {
    set_of(TAKEN)
}

fn set_of(signals: impl IntoIterator<Item = i32>) -> libc::sigset_t {
    // SAFETY: the functions initialize and change a local set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

/// The signals as a descriptor.
#[derive(Debug)]
pub struct SignalFd(File);

impl SignalFd {
    /// For a process that is a node: blocks the signals in this thread and those it starts, and takes them from the descriptor
    /// instead.
    ///
    /// # Errors
    /// Linux's.
    pub fn new() -> io::Result<SignalFd> {
        SignalFd::of(&signal_set())
    }

    /// For a command that stands in for a program: as [`SignalFd::new`], with all signals that mean the program.
    ///
    /// # Errors
    /// Linux's.
    pub fn for_relay() -> io::Result<SignalFd> {
        SignalFd::of(&set_of(TAKEN.into_iter().chain(RELAYED)))
    }

    fn of(set: &libc::sigset_t) -> io::Result<SignalFd> {
        // SAFETY: the set is initialized.
        if unsafe { libc::sigprocmask(libc::SIG_BLOCK, set, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the set is initialized; the result is checked.
        let fd = unsafe { libc::signalfd(-1, set, libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else owns.
        Ok(SignalFd(unsafe { File::from_raw_fd(fd) }))
    }

    /// Takes one signal.
    ///
    /// # Errors
    /// Linux's.
    pub fn take(&self) -> io::Result<i32> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        (&self.0).read_exact(&mut info)?;
        // `ssi_signo` is the first field (signalfd(2)).
        Ok(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
    }
}

impl AsRawFd for SignalFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
