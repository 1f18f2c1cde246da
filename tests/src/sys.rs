//! The few calls that the standard library lacks. All `unsafe` of the harness is here.

use std::{ffi::CStr, io, os::unix::process::CommandExt, process::Command, ptr};

/// Signals that tests send or expect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Signal {
    /// What Ctrl-C sends.
    Interrupt = libc::SIGINT,
    /// The terminal is gone.
    Hangup = libc::SIGHUP,
    /// What Ctrl-\ sends.
    Quit = libc::SIGQUIT,
    /// Cannot be caught.
    Kill = libc::SIGKILL,
    /// Stands still until it is told to go on.
    Stop = libc::SIGSTOP,
    /// A polite request to end.
    Terminate = libc::SIGTERM,
}

/// Whom a signal goes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// One process.
    Process(u32),
    /// All processes of a group, as the terminal does.
    Group(u32),
}

/// Sends a signal; a target that is gone already is no mistake.
pub fn send(signal: Signal, target: Target) {
    let pid = match target {
        Target::Process(pid) => pid.cast_signed(),
        Target::Group(group) => -group.cast_signed(),
    };
    // SAFETY: kill has no memory effects.
    unsafe { libc::kill(pid, signal as i32) };
}

/// Makes orphans below this process its children, so that it can tell whether any are left.
pub fn adopt_orphans() {
    // SAFETY: PR_SET_CHILD_SUBREAPER takes one number and touches no memory of ours.
    let result = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1_u64) };
    assert_eq!(result, 0, "every Linux since 3.4 has subreapers");
}

/// Reaps children that have ended; returns whether any still run.
pub fn has_children() -> bool {
    loop {
        // SAFETY: a null status pointer is allowed; waitpid then writes nothing.
        match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
            0 => return true,
            -1 => return false,
            _reaped => {}
        }
    }
}

/// Clock ticks a second, the unit of times in `/proc/PID/stat`.
pub fn ticks_per_second() -> u64 {
    // SAFETY: sysconf has no memory effects.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).expect("Linux always knows its tick")
}

/// What `/dev/kvm` is to a command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KvmDevice {
    /// Not there, nor any other device.
    Missing,
    /// Another device.
    Other,
}

/// Gives `command` a `/dev/kvm` of its own, in a mount namespace of its own. Needs root.
pub fn with_kvm_device(command: &mut Command, device: KvmDevice) {
    let (source, target, kind, flags): (&CStr, &CStr, &CStr, _) = match device {
        KvmDevice::Missing => (c"none", c"/dev", c"tmpfs", 0),
        KvmDevice::Other => (c"/dev/null", c"/dev/kvm", c"", libc::MS_BIND),
    };
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: between fork and exec the closure makes system calls only, with strings that live for ever.
    unsafe {
        command.pre_exec(move || {
            check(libc::unshare(libc::CLONE_NEWNS))?;
            check(libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), private, ptr::null()))?;
            check(libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, ptr::null()))
        });
    }
}

fn check(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
