//! What all connections share.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::sync::Arc;

use nix::sys::reboot::{RebootMode, reboot};

use crate::children::Children;
use crate::console::say;
use crate::streams::Streams;

/// What "power off" means, by how the agent was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Power {
    /// The agent is process 1: it asks the kernel.
    Kernel,
    /// The agent is a service of a distribution, which wants to be asked: by the command `poweroff`.
    Command,
    /// There is no machine of its own: the agent ends.
    Agent,
}

impl Power {
    /// Writes what is unwritten and switches off. Returns where that takes a while, or is refused.
    pub fn off(self, children: &Arc<Children>) {
        nix::unistd::sync();
        match self {
            Power::Kernel => {
                let Err(errno) = reboot(RebootMode::RB_POWER_OFF);
                say(&format!("cannot power off: {errno}"));
            }
            Power::Command => {
                if let Err(error) = children.spawn(&mut Command::new("poweroff")) {
                    say(&format!("cannot power off: poweroff: {error}"));
                }
            }
            Power::Agent => exit(0),
        }
    }
}

/// The proxy's image, held open: executed through `/proc/self/fd`, it can be started whatever the root is.
#[derive(Debug)]
pub struct ProxyImage(io::Result<File>);

impl ProxyImage {
    /// Opens it. That it is missing matters only when a proxy is wanted.
    pub fn open(path: &Path) -> ProxyImage {
        let file = File::options().read(true).custom_flags(libc::O_PATH).open(path);
        ProxyImage(file.map_err(|error| io::Error::other(format!("{}: {error}", path.display()))))
    }

    /// What to execute.
    ///
    /// # Errors
    /// Why it could not be opened.
    pub fn path(&self) -> Result<PathBuf, &io::Error> {
        self.0.as_ref().map(|file| format!("/proc/self/fd/{}", file.as_raw_fd()).into())
    }
}

/// What all connections share.
#[derive(Debug)]
pub struct Service {
    /// The processes that sessions have started.
    pub children: Arc<Children>,
    /// Streams that wait for their session.
    pub streams: Streams,
    /// The proxy's image.
    pub proxy: ProxyImage,
    /// What "power off" means.
    pub power: Power,
}

impl Service {
    /// A service without sessions.
    pub fn new(children: Arc<Children>, proxy: ProxyImage, power: Power) -> Service {
        Service { children, streams: Streams::default(), proxy, power }
    }
}
