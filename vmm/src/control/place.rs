//! Where a node is to be found: its socket, and the lock that says whether it lives.
//!
//! `$XDG_RUNTIME_DIR/margay/NAME.sock`, for root `/run/margay/NAME.sock`. The lock is one on `NAME.lock`, held as long as the
//! node's process lives, however it ends: a socket whose lock is free is a dead node's and may be replaced.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why a node cannot be reached or made.
#[derive(Debug, Error)]
pub enum PlaceError {
    /// No folder for sockets.
    #[error("cannot use {} for the node's socket: {source}; set XDG_RUNTIME_DIR to a folder of your own", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It lives already.
    #[error(
        "node {0} is up already; `margay ps --node {0}` shows it, `margay down --node {0}` ends it"
    )]
    Up(String),
    /// No node.
    #[error("no node is up; `margay up NODE.toml` starts one")]
    None,
    /// No such node.
    #[error("no node {name} is up{}", others(.up))]
    NoSuch {
        /// The name.
        name: String,
        /// Those that are.
        up: Vec<String>,
    },
    /// More than one.
    #[error("several nodes are up ({}); say which with --node", .0.join(", "))]
    Several(Vec<String>),
    /// The node's process has died.
    #[error(
        "node {0} is not up: its process has died and left its socket; `margay up` starts it anew"
    )]
    Dead(String),
    /// The socket is somebody else's.
    #[error("cannot connect to node {name}: {source}")]
    Connect {
        /// The node.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// A file.
    #[error("cannot make {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn others(up: &[String]) -> String {
    if up.is_empty() { String::new() } else { format!("; these are: {}", up.join(", ")) }
}

/// The place of one node.
#[derive(Clone, Debug)]
pub struct Place {
    folder: PathBuf,
    name: String,
}

impl Place {
    /// The place of node `name`, of this user.
    pub fn of(name: &str) -> Place {
        Place { folder: folder(), name: name.to_owned() }
    }

    /// The place of the node that `name` means: of that name, or the only one that is up.
    ///
    /// # Errors
    /// [`PlaceError::None`], [`PlaceError::Several`], [`PlaceError::NoSuch`]
    pub fn find(name: Option<&str>) -> Result<Place, PlaceError> {
        let up = names(&folder());
        match name {
            Some(name) if up.iter().any(|other| other == name) => Ok(Place::of(name)),
            Some(name) => Err(PlaceError::NoSuch { name: name.to_owned(), up }),
            None => match &up[..] {
                [] => Err(PlaceError::None),
                [name] => Ok(Place::of(name)),
                _ => {
                    // Dead nodes leave sockets, and must not stand in the way of the living.
                    let alive: Vec<String> =
                        up.into_iter().filter(|name| Place::of(name).is_alive()).collect();
                    match &alive[..] {
                        [] => Err(PlaceError::None),
                        [name] => Ok(Place::of(name)),
                        _ => Err(PlaceError::Several(alive)),
                    }
                }
            },
        }
    }

    /// The file for what the node's process prints when it fails.
    pub fn errors(&self) -> PathBuf {
        self.file("err")
    }

    /// Connects to the node.
    ///
    /// # Errors
    /// [`PlaceError`]
    pub fn connect(&self) -> Result<UnixStream, PlaceError> {
        UnixStream::connect(self.socket()).map_err(|source| match source.kind() {
            io::ErrorKind::ConnectionRefused if !self.is_alive() => self.dead(),
            _ => PlaceError::Connect { name: self.name.clone(), source },
        })
    }

    /// Takes the place for this process, if no living node has it.
    ///
    /// # Errors
    /// [`PlaceError::Up`], or files cannot be made.
    pub fn take(self, mode: u32) -> Result<Taken, PlaceError> {
        make_folder(&self.folder)?;
        let lock = self.lock()?;
        let socket = self.socket();
        let failed = |source| PlaceError::File { path: socket.clone(), source };
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&socket).map_err(failed)?;
        fs::set_permissions(&socket, Permissions::from_mode(mode)).map_err(failed)?;
        Ok(Taken { place: self, listener, _lock: lock })
    }

    /// The error for a node whose process has died.
    pub fn dead(&self) -> PlaceError {
        PlaceError::Dead(self.name.clone())
    }

    /// Whether a living process has the place.
    pub fn is_alive(&self) -> bool {
        File::open(self.file("lock")).is_ok_and(|file| is_locked(&file))
    }

    fn lock(&self) -> Result<File, PlaceError> {
        let path = self.file("lock");
        loop {
            let failed = |source| PlaceError::File { path: path.clone(), source };
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
                .map_err(failed)?;
            if !try_lock(&file) {
                return Err(PlaceError::Up(self.name.clone()));
            }
            // A node that went down in between has removed the file that was opened here.
            let opened = file.metadata().map_err(failed)?.ino();
            if fs::metadata(&path).is_ok_and(|now| now.ino() == opened) {
                return Ok(file);
            }
        }
    }

    fn socket(&self) -> PathBuf {
        self.file("sock")
    }

    fn file(&self, kind: &str) -> PathBuf {
        self.folder.join(format!("{}.{kind}", self.name))
    }
}

/// A place that this process holds. Dropped, nothing is left there.
#[derive(Debug)]
pub struct Taken {
    place: Place,
    listener: UnixListener,
    _lock: File,
}

impl Taken {
    /// Where commands connect.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // The lock last: who gets it must find the rest gone. What cannot be removed the next node replaces.
        for kind in ["sock", "err", "lock"] {
            let _ = fs::remove_file(self.place.file(kind));
        }
        let _ = fs::remove_dir(&self.place.folder);
    }
}

/// Locks without waiting. Whether it was free.
fn try_lock(file: &File) -> bool {
    lock_request(file, libc::F_OFD_SETLK).is_some()
}

/// Whether somebody has the lock. Asking takes nothing: a node that comes up at this moment must find it free.
fn is_locked(file: &File) -> bool {
    lock_request(file, libc::F_OFD_GETLK).is_some_and(|found| found != libc::F_UNLCK)
}

/// Makes a request about an exclusive lock of the whole file, which belongs to the open file and goes with it (fcntl(2), "Open file
/// description locks"). Returns the type of lock that is there afterwards, or nothing if the request failed.
fn lock_request(file: &File, request: libc::c_int) -> Option<libc::c_int> {
    let mut lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: an open descriptor, and a structure that lives until the call returns.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), request, &raw mut lock) } == 0;
    done.then_some(libc::c_int::from(lock.l_type))
}

/// Where this user's nodes are.
fn folder() -> PathBuf {
    // SAFETY: returns a number.
    let uid = unsafe { libc::geteuid() };
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir).join("margay"),
        None if uid == 0 => PathBuf::from("/run/margay"),
        None => PathBuf::from(format!("/tmp/margay-{uid}")),
    }
}

/// Makes the folder for the user alone, and makes sure that it is the user's: in `/tmp` somebody else could have made it.
fn make_folder(path: &Path) -> Result<(), PlaceError> {
    let failed = |source| PlaceError::Folder { path: path.to_owned(), source };
    match DirBuilder::new().mode(0o755).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let found = fs::symlink_metadata(path).map_err(failed)?;
    // SAFETY: returns a number.
    let uid = unsafe { libc::geteuid() };
    if found.is_dir() && found.uid() == uid {
        return Ok(());
    }
    Err(failed(io::Error::other("it is not a folder of yours")))
}

/// Names of the nodes in a folder that have a socket.
fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let name =
        |entry: fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".sock")?.to_owned());
    let mut names: Vec<String> = entries.flatten().filter_map(name).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::{Place, PlaceError};

    fn place(folder: &tempfile::TempDir) -> Place {
        Place { folder: folder.path().join("margay"), name: "test".to_owned() }
    }

    #[test]
    fn one_process_has_the_place_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let taken = place(&folder).take(0o600).unwrap();
        assert!(matches!(place(&folder).take(0o600), Err(PlaceError::Up(_))));
        assert!(place(&folder).connect().is_ok());
        drop(taken);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_dead_nodes_socket_is_told_from_a_living_ones_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("margay")).unwrap();
        drop(std::os::unix::net::UnixListener::bind(place(&folder).socket()).unwrap());
        std::fs::write(place(&folder).file("lock"), "").unwrap();
        assert!(matches!(place(&folder).connect(), Err(PlaceError::Dead(_))));
        let _taken = place(&folder).take(0o600).unwrap();
        assert!(place(&folder).connect().is_ok());
    }
}
