//! A terminal for a program: a pseudo-terminal here, whose other side goes to the user's own through a stream.
//!
//! The user's terminal is raw meanwhile, so this one does what a terminal does: echo, lines, Ctrl-C.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::PathBuf;
use std::thread;

use margay_protocol::agent::WindowSize;
use nix::fcntl::OFlag;
use nix::pty::{posix_openpt, ptsname_r, unlockpt};

use crate::relay::{carry, end_of};

/// The agent's side of a terminal.
#[derive(Debug)]
pub struct Terminal {
    master: File,
}

impl Terminal {
    /// A new terminal, and the program's side of it, which belongs to `user`.
    ///
    /// # Errors
    /// There is no `/dev/pts`, or no terminal left.
    pub fn new(user: (u32, u32)) -> io::Result<(Terminal, OwnedFd)> {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
        unlockpt(&master)?;
        let path = PathBuf::from(ptsname_r(&master)?);
        let slave =
            File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(path)?;
        fchown(&slave, Some(user.0), Some(user.1))?;
        // SAFETY: the master gives its descriptor away here.
        let master = unsafe { File::from_raw_fd(master.into_raw_fd()) };
        Ok((Terminal { master }, slave.into()))
    }

    /// Gives it a size; the program's foreground group gets `SIGWINCH`.
    pub fn resize(&self, size: WindowSize) {
        let size =
            libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: reads the structure, a local. It can only fail when there is no terminal any more.
        unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &size) };
    }

    /// Carries bytes both ways from now on. The thread returned ends when nobody holds the program's side open any more,
    /// which is at the latest when the leader of the terminal's session has ended, and all that was written has been carried.
    ///
    /// # Errors
    /// There can be no threads.
    pub fn connect(&self, stream: OwnedFd) -> io::Result<thread::JoinHandle<()>> {
        let stream = File::from(stream);
        let (from_user, to_program) = (stream.try_clone()?, self.master.try_clone()?);
        let from_program = self.master.try_clone()?;
        // It ends when the node closes the stream.
        thread::Builder::new().spawn(move || carry(from_user, to_program))?;
        thread::Builder::new().spawn(move || {
            carry(from_program, &stream);
            end_of(&stream);
        })
    }
}
