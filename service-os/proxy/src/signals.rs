//! What Linux's signals are to the program.
//!
//! Signals from outside act on the proxy as on any process: who kills it kills the program. But `SIGPIPE` and `SIGXFSZ`
//! are raised by the program's own calls, so it is the program's business what becomes of them: they are blocked here,
//! and travel back with the reply.

use std::ffi::c_int;
use std::io;

use crate::error::ProxyError;
use crate::{raw, watch};

/// The signals that a call can raise against its caller.
const OF_CALLS: [c_int; 2] = [libc::SIGPIPE, libc::SIGXFSZ];
/// The signals of faults, which call for a report.
const FAULTS: [c_int; 5] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];
/// The largest signal number.
const LAST: u64 = 64;

/// Makes signals what they must be before the first call, in the thread that makes the calls. `watched` is left to the thread that
/// waits for it.
///
/// # Errors
/// Linux's.
pub fn set_up(watched: Option<c_int>) -> io::Result<()> {
    raw::hold_back(&OF_CALLS, watched)
}

/// The signal that this process gets when its parent dies, as its maker wanted it.
#[derive(Clone, Copy, Debug)]
pub struct ParentTies(Option<c_int>);

impl ParentTies {
    /// What holds now.
    pub fn now() -> ParentTies {
        ParentTies(raw::parent_death_signal())
    }

    /// Makes it hold again: Linux forgets it when credentials change (prctl(2), `PR_SET_PDEATHSIG`).
    pub fn renew(self) {
        if let Some(signal) = self.0 {
            raw::set_parent_death_signal(signal);
        }
    }
}

/// The signals that calls have raised since the last time, bit `n - 1` for signal `n`.
#[cold]
pub fn raised() -> u64 {
    let mut bits = 0;
    while let Some(signal) = raw::take_held_back(&OF_CALLS) {
        bits |= 1 << (signal - 1);
    }
    bits
}

/// The program ignores `signal`, or (`ignored` zero) no longer.
///
/// # Errors
/// `EINVAL`: no such signal, or one that cannot be ignored.
pub fn set_ignored(signal: u64, ignored: u64) -> io::Result<()> {
    let signal = number(signal).ok_or(io::Error::from_raw_os_error(libc::EINVAL))?;
    raw::set_disposition(signal, if ignored == 0 { libc::SIG_DFL } else { libc::SIG_IGN })
}

/// Dies as the program did. Returns only if `signal` is none.
pub fn die_by(signal: u64) -> ProxyError {
    match number(signal) {
        Some(signal) if FAULTS.contains(&signal) => watch::die_of_fault(signal),
        Some(signal) => raw::die_by(signal),
        None => ProxyError::NotASignal(signal),
    }
}

fn number(signal: u64) -> Option<c_int> {
    (1..=LAST).contains(&signal).then_some(signal as c_int)
}
