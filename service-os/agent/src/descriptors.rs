//! Who has which file descriptors: the agent those below [`AGENT`], a proxy its own just below [`TOP`].
//!
//! What a proxy gets of ours lies out of its program's sight, at numbers that the agent itself never has: so that in a new
//! process, between `fork` and `exec`, they can be put in place without covering anything that is still needed. A program gets the
//! limit that it has everywhere; descriptors above a limit stay open.

use std::io;
use std::os::fd::RawFd;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::AgentError;

/// The agent's limit: a program takes it six, at most.
const AGENT: u64 = 4000;
/// The limit while a proxy's descriptors are put in place.
pub const TOP: u64 = 4096;
/// A program's limit, Linux's usual one.
pub const PROGRAM: u64 = 1024;

/// First of a proxy's: guest memory, kick, wake, program file.
pub const PROXY_FDS: RawFd = TOP as RawFd - 8;
/// Among them the program file.
pub const PROGRAM_FILE: RawFd = PROXY_FDS + 3;
/// A proxy's control connection.
pub const CONTROL: RawFd = PROXY_FDS + 4;

/// Sets the agent's limit, makes sure that a child can have [`TOP`], and keeps from programs what the agent itself was started
/// with.
///
/// # Errors
/// The hard limit is lower and cannot be raised.
pub fn leave_room() -> Result<(), AgentError> {
    let (first, last) = (libc::STDERR_FILENO + 1, libc::c_int::MAX);
    // SAFETY: takes integers, and closes nothing now. It fails for none of them (Linux 5.11).
    unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) };
    let set = || {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, AGENT, hard.max(TOP))
    };
    set().map_err(|errno| AgentError::Descriptors(TOP, io::Error::from(errno)))
}
