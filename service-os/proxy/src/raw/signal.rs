//! Signals and ends.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::FromRawFd;
use std::ptr;

use libc::{c_int, sigset_t, timespec};

/// Blocks `signals` so that none is lost, and `watched` if there is one, and nothing else: a VMM may have passed on a mask of
/// its own (for its signalfd).
///
/// # Errors
/// Linux's.
pub fn hold_back(signals: &[c_int], watched: Option<c_int>) -> io::Result<()> {
    let blocked: Vec<c_int> = signals.iter().copied().chain(watched).collect();
    let set = set_of(&blocked);
    for &signal in signals {
        // Rust's runtime ignores SIGPIPE, and an ignored signal would be lost, not held back.
        set_disposition(signal, libc::SIG_DFL)?;
    }
    // SAFETY: `set` is a signal set, and the old one is not asked for.
    match unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &set, ptr::null_mut()) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Takes one of `signals` that are held back for this thread, if one is pending.
pub fn take_held_back(signals: &[c_int]) -> Option<c_int> {
    let set = set_of(signals);
    let at_once = timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both are live for the call; no `siginfo_t` is asked for.
    let signal = unsafe { libc::sigtimedwait(&set, ptr::null_mut(), &at_once) };
    (signal > 0).then_some(signal)
}

/// Sets a signal's disposition to `SIG_IGN` or `SIG_DFL`.
///
/// # Errors
/// `EINVAL`: no such signal, or one that cannot be ignored.
pub fn set_disposition(signal: c_int, disposition: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: both dispositions are the kernel's: no code of this process runs for them.
    let old = unsafe { libc::signal(signal, disposition) };
    if old == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Blocks everything in this thread: the process's signals go to its other threads.
pub fn block_all() {
    let mut all = MaybeUninit::uninit();
    // SAFETY: `sigfillset` initializes the set, and the old one is not asked for. Neither call can fail.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), ptr::null_mut());
    }
}

/// A descriptor from which `signal`, blocked in all threads, can be read, as `signalfd_siginfo`s.
///
/// # Errors
/// Linux's.
pub fn signal_events(signal: c_int) -> io::Result<File> {
    let set = set_of(&[signal]);
    // SAFETY: the set is live for the call.
    let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Whether this process ignores `signal`.
pub fn is_ignored(signal: c_int) -> bool {
    // SAFETY: asks only; the structure is a local, for which zero is valid.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, ptr::null(), &mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// The signal that this process gets when its parent dies, if any.
pub fn parent_death_signal() -> Option<c_int> {
    let mut signal: c_int = 0;
    // SAFETY: writes one integer, a local.
    unsafe { libc::prctl(libc::PR_GET_PDEATHSIG, &raw mut signal) };
    (signal != 0).then_some(signal)
}

/// Has Linux send `signal` to this process when its parent dies.
pub fn set_parent_death_signal(signal: c_int) {
    // SAFETY: takes integers. It fails for no valid signal.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) };
}

/// Ends the process with `status`, at once.
pub fn exit(status: c_int) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(status) }
}

/// Sends `signal` to this process.
pub fn send_to_self(signal: c_int) {
    // SAFETY: takes integers; the process is this one.
    unsafe { libc::kill(libc::getpid(), signal) };
}

/// Ends the process by `signal`, whose default is to end it, without a core file: the core would be the proxy's.
/// Where the signal does not end it (the first process of a container is exempt), exits with what a shell would report.
pub fn die_by(signal: c_int) -> ! {
    let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let set = set_of(&[signal]);
    // SAFETY: the limit and the set are live for the calls; no code of this process runs for the signal.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &no_core);
        libc::signal(signal, libc::SIG_DFL);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, ptr::null_mut());
        libc::raise(signal);
    }
    exit(128 + signal)
}

/// The set of `signals`. Numbers that are no signals are left out.
fn set_of(signals: &[c_int]) -> sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initializes the set, and `sigaddset` refuses numbers that are no signals.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}
