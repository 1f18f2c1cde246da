//! How a process becomes a proxy: what it inherits and what of ours it gets.
//!
//! It inherits what a normal program would: standard streams, other open descriptors, working directory, limits. What it needs
//! of ours comes at the top of its descriptor table, out of the program's sight.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use crate::node::signals::signal_set;
use crate::parts::Parts;
use crate::program::ProgramFile;

/// Descriptors that every proxy gets: guest memory, kick, wake, program.
const PASSED: usize = 4;
/// The highest descriptor that the proxy's command line can name.
const HIGHEST: u64 = 65_535;

/// What a proxy is connected to.
#[derive(Debug)]
pub struct Wiring<'a> {
    /// The LWK's memory.
    pub memory: RawFd,
    /// Its bytes.
    pub memory_bytes: u64,
    /// Read when it sleeps.
    pub kick: RawFd,
    /// Written when the LWK's core is halted.
    pub wake: RawFd,
    /// The connection to the node, if it is not the node's child.
    pub control: Option<RawFd>,
    /// The program.
    pub program: &'a ProgramFile,
    /// How long it polls before it sleeps.
    pub spin: Duration,
}

/// A proxy that is about to be.
#[derive(Debug)]
pub struct ProxyCommand {
    command: Command,
    base: RawFd,
    passed: Vec<RawFd>,
}

impl ProxyCommand {
    /// Prepares a proxy with the environment `env`.
    ///
    /// # Errors
    /// No free descriptors.
    pub fn new(
        parts: &Parts,
        wiring: &Wiring<'_>,
        env: &[(OsString, OsString)],
    ) -> io::Result<ProxyCommand> {
        let program = wiring.program.file.as_raw_fd();
        let mut passed = vec![wiring.memory, wiring.kick, wiring.wake, program];
        passed.extend(wiring.control);
        let base = free_descriptors(passed.len())?;
        let mut command = Command::new(&parts.proxy);
        command
            .args(["--fds", &base.to_string()])
            .args(["--memory-bytes", &wiring.memory_bytes.to_string()])
            .args(["--spin-us", &wiring.spin.as_micros().to_string()])
            .arg("--program")
            .arg(Path::new(&wiring.program.path))
            .env_clear()
            .envs(env.iter().map(|(name, value)| (name, value)));
        if wiring.control.is_some() {
            command.args(["--control", &(base + PASSED as RawFd).to_string()]);
        }
        Ok(ProxyCommand { command, base, passed })
    }

    /// The program file's descriptor in the proxy.
    pub fn program_fd(&self) -> u32 {
        (self.base + PASSED as RawFd - 1) as u32
    }

    /// Starts it as a child, which dies with the calling thread.
    ///
    /// # Errors
    /// Linux's.
    pub fn spawn(mut self) -> io::Result<Child> {
        let (base, passed) = (self.base, std::mem::take(&mut self.passed));
        let parent = std::process::id();
        // SAFETY: between fork and exec the closure makes only async-signal-safe calls and allocates nothing.
        unsafe {
            self.command.pre_exec(move || {
                pass(base, &passed)?;
                unblock_signals();
                die_with(parent)
            })
        };
        self.command.spawn()
    }

    /// Makes this process the proxy. Returns only if that fails.
    pub fn replace_this_process(mut self) -> io::Error {
        match pass(self.base, &self.passed) {
            Ok(()) => self.command.exec(),
            Err(error) => error,
        }
    }
}

/// The highest place in the descriptor table with `count` free ones.
fn free_descriptors(count: usize) -> io::Result<RawFd> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let end = limit.rlim_cur.min(HIGHEST) as RawFd;
    // SAFETY: F_GETFD only asks.
    let free = |fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0;
    (3..=end - count as RawFd)
        .rev()
        .find(|&base| (base..base + count as RawFd).all(free))
        .ok_or_else(|| io::Error::other("there are no free file descriptors; raise `ulimit -n`"))
}

/// Copies descriptors to where the proxy expects them, open across exec.
fn pass(base: RawFd, passed: &[RawFd]) -> io::Result<()> {
    for (to, &from) in (base..).zip(passed) {
        // SAFETY: `from` is open, `to` was free. dup2 leaves the copy open across exec.
        if unsafe { libc::dup2(from, to) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Unblocks what the node's process takes from a descriptor.
fn unblock_signals() {
    let taken = signal_set();
    // SAFETY: the set is initialized.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &taken, std::ptr::null_mut()) };
}

/// Has this process die with `parent`.
fn die_with(parent: u32) -> io::Result<()> {
    // SAFETY: prctl and getppid take integers.
    unsafe {
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
