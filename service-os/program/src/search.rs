//! Where a program is: the search of `execvp(3)`, in any process's surroundings.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use crate::ProgramError;

/// Where `execvp` looks when there is no `PATH` (glibc's `_CS_PATH`).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// What a name of a program means depends on.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// The value of `PATH`, if there is one.
    pub path: Option<&'a OsStr>,
    /// The directory from which relative paths count. Empty: that of this process.
    pub directory: &'a Path,
}

/// Finds a program that this process may execute. A name without `/` is looked for in `PATH`.
///
/// # Errors
/// [`ProgramError`], but none about what is in the file.
pub fn find(name: &Path, around: &Surroundings<'_>) -> Result<PathBuf, ProgramError> {
    if name.as_os_str().as_bytes().contains(&b'/') {
        let path = around.directory.join(name);
        return check_file(&path).map(|()| path);
    }
    let path = around.path.unwrap_or(DEFAULT_PATH.as_ref());
    find_in(name, path, around.directory)
}

/// Looks for a name in the directories of `path`. An empty one is the current one. A file that cannot be executed is passed
/// over, but explains a search that finds no other.
fn find_in(name: &Path, path: &OsStr, current: &Path) -> Result<PathBuf, ProgramError> {
    let mut blamed = ProgramError::NotInPath(name.to_owned());
    for directory in env::split_paths(path) {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { &directory };
        let candidate = current.join(directory).join(name);
        match check_file(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error @ ProgramError::NotExecutable(_)) => blamed = error,
            Err(_) => {}
        }
    }
    Err(blamed)
}

/// Whether it is an executable regular file.
fn check_file(path: &Path) -> Result<(), ProgramError> {
    let metadata = path.metadata().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            ProgramError::NoFile(path.to_owned())
        }
        _ => ProgramError::Unreadable { path: path.to_owned(), source },
    })?;
    if !metadata.is_file() {
        return Err(ProgramError::NotRegular(path.to_owned()));
    }
    if may_execute(path) { Ok(()) } else { Err(ProgramError::NotExecutable(path.to_owned())) }
}

/// Whether this thread may execute a file, by its effective user and groups, as `execve` asks.
fn may_execute(path: &Path) -> bool {
    faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::{Surroundings, find};
    use crate::ProgramError;

    #[test]
    fn names_are_looked_for_as_execvp_does() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, mode: u32| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, b"").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        file("one/tool", 0o644);
        let second = file("two/tool", 0o755);
        file("one/plain", 0o644);
        let path = std::env::join_paths(["one", "two"].map(|name| dir.path().join(name))).unwrap();
        let around = Surroundings { path: Some(&path), directory: Path::new("") };
        assert_eq!(find(Path::new("tool"), &around).unwrap(), second);
        let plain = find(Path::new("plain"), &around).unwrap_err();
        assert!(matches!(plain, ProgramError::NotExecutable(_)), "{plain}");
        let none = find(Path::new("none"), &around).unwrap_err();
        assert!(matches!(none, ProgramError::NotInPath(_)), "{none}");
        let two = dir.path().join("two");
        let beside = Surroundings { path: Some("".as_ref()), directory: &two };
        for name in ["tool", "./tool"] {
            assert!(find(Path::new(name), &beside).unwrap().ends_with("tool"));
        }
        let none = find(Path::new("one/tool"), &beside).unwrap_err();
        assert!(matches!(none, ProgramError::NoFile(_)), "{none}");
    }
}
