//! What a new process does between `fork` and `exec` to become a program's: the one place where the agent's rights are given up.
//!
//! The agent has many threads, so only async-signal-safe calls are allowed there (signal-safety(7)): no allocation, no lock.
//! Everything is computed before, and `libc` is called directly.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::{descriptors, oom};

/// What a program's process is to be. Its standard streams are in place already.
#[derive(Debug)]
pub struct Preparation {
    /// Its user and group.
    pub user: (u32, u32),
    /// Its working directory.
    pub directory: CString,
    /// Whether standard input is to be its controlling terminal.
    pub terminal: Terminal,
    /// Descriptors that it gets, and as which numbers.
    pub passed: Vec<(OwnedFd, RawFd)>,
}

/// What standard input is to the new process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminal {
    /// Its controlling terminal.
    Controlling,
    /// Not a terminal.
    None,
}

impl Preparation {
    /// Has `command`'s process prepare itself so.
    pub fn of(self, command: &mut Command) {
        // SAFETY: `apply` makes only async-signal-safe calls, and allocates and frees nothing.
        unsafe { command.pre_exec(move || self.apply()) };
    }

    /// Standard library's `Command` has by now reset the signal mask, and the disposition of `SIGPIPE`, the only one that
    /// Rust's runtime changes.
    fn apply(&self) -> io::Result<()> {
        // SAFETY: takes nothing. The leader of a session: it has no terminal, and signals of its group reach nobody else's.
        checked(unsafe { libc::setsid() })?;
        if self.terminal == Terminal::Controlling {
            // SAFETY: takes an integer.
            checked(unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) })?;
        }
        limit_descriptors(descriptors::TOP)?;
        for (from, to) in &self.passed {
            // SAFETY: takes integers. `from` is open; the agent has nothing at `to`; the copy stays open across `exec`.
            checked(unsafe { libc::dup2(from.as_raw_fd(), *to) })?;
        }
        limit_descriptors(descriptors::PROGRAM)?;
        usual_oom_score();
        self.become_user()?;
        // SAFETY: both paths are live strings.
        unsafe {
            if libc::chdir(self.directory.as_ptr()) != 0 {
                checked(libc::chdir(c"/".as_ptr()))?;
            }
        }
        Ok(())
    }

    /// Gives up the agent's rights, groups first: after the user nothing can be given up any more.
    fn become_user(&self) -> io::Result<()> {
        let (uid, gid) = self.user;
        // SAFETY: takes integers, and one live array of the length given.
        unsafe {
            if libc::geteuid() == 0 {
                checked(libc::setgroups(1, &gid))?;
            }
            checked(libc::setresgid(gid, gid, gid))?;
            checked(libc::setresuid(uid, uid, uid))
        }
    }
}

fn checked(ret: libc::c_int) -> io::Result<()> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets the soft limit.
fn limit_descriptors(soft: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a local.
    unsafe {
        checked(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit))?;
        limit.rlim_cur = soft.min(limit.rlim_max);
        checked(libc::setrlimit(libc::RLIMIT_NOFILE, &limit))
    }
}

/// A program may be killed when memory runs out. Where the agent itself may be, this is nothing.
fn usual_oom_score() {
    // SAFETY: live strings of the lengths given; the descriptor is this function's.
    unsafe {
        let fd = libc::open(oom::SCORE.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if fd >= 0 {
            libc::write(fd, oom::USUAL.as_ptr().cast(), oom::USUAL.len());
            libc::close(fd);
        }
    }
}
