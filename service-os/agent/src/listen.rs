//! Where the node connects.

use std::convert::Infallible;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use margay_protocol::agent::PORT;
use nix::errno::Errno;
use nix::libc::{VMADDR_CID_ANY, VMADDR_CID_HOST};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, VsockAddr, accept4, bind, getpeername, listen,
    socket,
};

use crate::args::Listen;
use crate::console::say;
use crate::error::AgentError;

/// Connections that wait: the streams of some sessions that start at once.
const BACKLOG: i32 = 128;
/// Before the next try, where there are no descriptors or threads left for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// A listening socket.
#[derive(Debug)]
pub enum Listener {
    /// The host's way in.
    Vsock(OwnedFd),
    /// A test's.
    Unix(UnixListener),
}

impl Listener {
    /// Listens.
    ///
    /// # Errors
    /// No vsock here, or a path that cannot be bound.
    pub fn bind(at: &Listen) -> Result<Listener, AgentError> {
        match at {
            Listen::Vsock => {
                vsock().map(Listener::Vsock).map_err(|errno| AgentError::Vsock(PORT, errno.into()))
            }
            Listen::Socket(path) => UnixListener::bind(path)
                .map(Listener::Unix)
                .map_err(|source| AgentError::Socket(path.clone(), source)),
        }
    }

    /// Serves each connection in a thread of its own, for ever.
    ///
    /// # Errors
    /// The socket is of no use any more.
    pub fn serve(
        &self,
        serve: impl Fn(File) + Clone + Send + Sync,
    ) -> Result<Infallible, AgentError> {
        thread::scope(|scope| {
            loop {
                let connection = match self.accept() {
                    Ok(connection) => connection,
                    Err(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS) => {
                        thread::sleep(PAUSE);
                        continue;
                    }
                    // The other side has gone already.
                    Err(Errno::ECONNABORTED | Errno::EINTR | Errno::EPERM) => continue,
                    Err(errno) => return Err(AgentError::Accept(errno.into())),
                };
                let serve = serve.clone();
                let spawned = thread::Builder::new().spawn_scoped(scope, move || serve(connection));
                if let Err(error) = spawned {
                    say(&format!("a connection is turned away: {error}"));
                    thread::sleep(PAUSE);
                }
            }
        })
    }

    fn accept(&self) -> Result<File, Errno> {
        let listener = match self {
            Listener::Vsock(socket) => socket.as_raw_fd(),
            Listener::Unix(socket) => socket.as_raw_fd(),
        };
        let fd = accept4(listener, SockFlag::SOCK_CLOEXEC)?;
        // SAFETY: a new descriptor that nobody else owns.
        let connection = unsafe { File::from_raw_fd(fd) };
        match self {
            // Nobody inside may give orders to root.
            Listener::Vsock(_) if getpeername::<VsockAddr>(fd)?.cid() != VMADDR_CID_HOST => {
                Err(Errno::EPERM)
            }
            _ => Ok(connection),
        }
    }
}

fn vsock() -> Result<OwnedFd, Errno> {
    let socket = socket(AddressFamily::Vsock, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &VsockAddr::new(VMADDR_CID_ANY, PORT))?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(socket)
}
