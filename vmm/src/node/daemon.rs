//! `margay up`: a node that lives in a process of its own until `margay down`.
//!
//! The command starts itself again in the background and waits for a word on a pipe. The pipe's end without one means that the node
//! did not come up; then what the process has printed says why.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use thiserror::Error;

use super::control::{self, Sources};
use super::signals::SignalFd;
use super::{Node, NodeError};
use crate::control::place::{Place, PlaceError};
use crate::lwk::log::Echo;
use crate::partition::Partition;

/// Why a node is not up, or did not stay up.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// Its place.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The node.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The control loop.
    #[error("the control loop failed: {0}")]
    Control(#[from] event_manager::Error),
    /// The process in the background could not be started.
    #[error("cannot start the node's process: {0}")]
    Start(#[source] io::Error),
    /// It has ended before it was up, and has said why.
    #[error("the node did not come up")]
    Ended(String),
}

/// Runs the node in this process until somebody takes it down. `up` is called when it is up, with the place for what this
/// process prints from then on.
///
/// # Errors
/// [`DaemonError`]
pub fn run_here(
    partition: &Partition,
    echo: Echo,
    up: impl FnOnce(&Place) -> io::Result<()>,
) -> Result<(), DaemonError> {
    let signals = SignalFd::new().map_err(NodeError::system("take signals"))?;
    let place = Place::of(&partition.name);
    let taken = place.clone().take(partition.socket_mode)?;
    let node = Node::boot(partition, echo, &signals)?;
    up(&place).map_err(NodeError::system("say that the node is up"))?;
    let mut end = |_| {
        node.stop("margay: the node was taken down by a signal\n");
        node.end();
    };
    let sources = Sources {
        signals: &signals,
        on_signal: &mut end,
        listener: Some(taken.listener()),
        quit: node.quit(),
    };
    Ok(control::run(&node, sources)?)
}

/// Runs the node of `node_file` in the background, and returns when it is up.
///
/// # Errors
/// [`DaemonError`]; then there is no node.
pub fn run_in_background(node_file: &Path) -> Result<(), DaemonError> {
    let errors = memfd().map_err(DaemonError::Start)?;
    let (mut ready, theirs) = io::pipe().map_err(DaemonError::Start)?;
    let fd = theirs.as_raw_fd();
    let program = std::env::current_exe().map_err(DaemonError::Start)?;
    let mut command = Command::new(program);
    command
        .args(["up", "--foreground", "--ready-fd", &fd.to_string()])
        .arg(node_file.canonicalize().map_err(DaemonError::Start)?)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(errors.try_clone().map_err(DaemonError::Start)?);
    // SAFETY: between fork and exec the closure makes two system calls on integers.
    unsafe { command.pre_exec(move || detach(fd)) };
    let mut child = command.spawn().map_err(DaemonError::Start)?;
    drop(theirs);
    let mut said = Vec::new();
    ready.read_to_end(&mut said).map_err(DaemonError::Start)?;
    if !said.is_empty() {
        return Ok(());
    }
    child.wait().map_err(DaemonError::Start)?;
    Err(DaemonError::Ended(read_all(errors).map_err(DaemonError::Start)?))
}

/// Tells [`run_in_background`], in the other process, that the node is up, and from now on prints to the node's error file.
///
/// # Errors
/// The pipe's, the file's.
pub fn report_up(ready: RawFd, place: &Place) -> io::Result<()> {
    let errors = File::create(place.errors())?;
    // SAFETY: the descriptor was made for this process and is used once.
    let mut ready = unsafe { File::from_raw_fd(ready) };
    ready.write_all(b"up")?;
    // SAFETY: both are open; standard error is nobody's in particular.
    if unsafe { libc::dup2(errors.as_raw_fd(), libc::STDERR_FILENO) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// In the child: a session of its own, so that no terminal's signals reach the node, and the pipe stays open.
fn detach(ready: RawFd) -> io::Result<()> {
    // SAFETY: take integers.
    if unsafe { libc::setsid() < 0 || libc::fcntl(ready, libc::F_SETFD, 0) < 0 } {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A file without a name.
fn memfd() -> io::Result<File> {
    // SAFETY: the name is a C string; the result is checked.
    let fd = unsafe { libc::memfd_create(c"margay-errors".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else owns.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn read_all(mut file: File) -> io::Result<String> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}
