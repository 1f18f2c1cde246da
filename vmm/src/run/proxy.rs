//! The proxy as a child process.
//!
//! It inherits what a normal child would: standard streams, other open descriptors, working directory, environment. What it needs
//! of ours comes at the top of its descriptor table, out of the program's sight. It dies with this process.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use super::control::signal_set;
use super::parts::Parts;
use crate::exit::Exit;
use crate::lwk::vm::Vm;
use crate::memory::GuestMemory;
use crate::request::RunRequest;

/// Descriptors that the proxy gets: guest memory, kick, wake, program.
const PASSED: usize = 4;
/// The highest descriptor that the proxy's command line can name.
const HIGHEST: u64 = 65_535;

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    /// Becomes readable when the child has ended.
    ended: OwnedFd,
    base: RawFd,
}

impl Proxy {
    /// Starts the proxy of `request`'s program.
    pub fn spawn(
        parts: &Parts,
        request: &RunRequest,
        memory: &GuestMemory,
        vm: &Vm,
    ) -> io::Result<Proxy> {
        let base = free_descriptors()?;
        let passed: [RawFd; PASSED] = [
            memory.file().as_raw_fd(),
            vm.kick.as_raw_fd(),
            vm.wake.as_raw_fd(),
            request.program.file.as_raw_fd(),
        ];
        let parent = std::process::id();
        let mut command = Command::new(&parts.proxy);
        command
            .args(["--fds", &base.to_string()])
            .args(["--memory-bytes", &memory.bytes().to_string()])
            .args(["--spin-us", &request.partition.service.spin.as_micros().to_string()])
            .arg("--program")
            .arg(&request.program.path)
            .env_clear()
            .envs(request.env.iter().map(|(name, value)| (name, value)));
        // SAFETY: between fork and exec the closure makes only async-signal-safe calls and allocates nothing.
        unsafe { command.pre_exec(move || prepare_child(base, passed, parent)) };
        let child = command.spawn()?;
        let ended = pidfd(child.id())?;
        Ok(Proxy { child, ended, base })
    }

    /// Its process id, which is also the program's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The program file's descriptor in the proxy.
    pub fn program_fd(&self) -> RawFd {
        self.base + PASSED as RawFd - 1
    }

    /// Becomes readable when the proxy has ended.
    pub fn ended(&self) -> RawFd {
        self.ended.as_raw_fd()
    }

    /// Sends it a signal. One that has ended already is no error.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the child has not been waited for, so the process id is still its own.
        unsafe { libc::kill(self.child.id() as i32, signal) };
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.child.wait()
    }

    /// Waits for its end, but no longer than `time`.
    pub fn wait_for(&mut self, time: Duration) -> Option<ExitStatus> {
        let mut poll = libc::pollfd { fd: self.ended(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, on the stack.
        unsafe { libc::poll(&mut poll, 1, time.as_millis() as i32) };
        self.child.try_wait().ok().flatten()
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) -> io::Result<ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }
}

/// Turns the proxy's end into the program's.
pub fn exit_of(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(0), _) => Exit::Success,
        (Some(code), _) => Exit::Status(code as u8),
        (None, Some(signal)) => Exit::Signal(signal as u8),
        (None, None) => Exit::Failure,
    }
}

/// The highest place in the descriptor table with `PASSED` free ones.
fn free_descriptors() -> io::Result<RawFd> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let end = limit.rlim_cur.min(HIGHEST) as RawFd;
    // SAFETY: F_GETFD only asks.
    let free = |fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0;
    (3..=end - PASSED as RawFd)
        .rev()
        .find(|&base| (base..base + PASSED as RawFd).all(free))
        .ok_or_else(|| io::Error::other("there are no free file descriptors; raise `ulimit -n`"))
}

/// In the child, before its program: descriptors, signals, death with the parent.
fn prepare_child(base: RawFd, passed: [RawFd; PASSED], parent: u32) -> io::Result<()> {
    for (to, from) in (base..).zip(passed) {
        // SAFETY: `from` is open, `to` was free. dup2 leaves the copy open across exec.
        if unsafe { libc::dup2(from, to) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let taken = signal_set();
    // SAFETY: the set is initialized; prctl and getppid take integers.
    unsafe {
        libc::sigprocmask(libc::SIG_UNBLOCK, &taken, std::ptr::null_mut());
        if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
            return Err(io::Error::last_os_error());
        }
        // The parent may have died before the line above took effect.
        if libc::getppid() as u32 != parent {
            libc::_exit(1);
        }
    }
    Ok(())
}

fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: takes integers; the result is checked.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { File::from_raw_fd(fd as RawFd) }.into())
}
