//! Looks at a program before anything starts, so that a bad one is an error with its remedy and the exit status of a shell.
//!
//! [`ProgramFile::open`] finds the file as `execvp(3)` does, and holds it open: what was checked is what will run, even if the path
//! is replaced meanwhile. What the file must be is [`lwk_core::elf`]'s to say.

use std::env;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use lwk_core::elf::{self, ElfError, HEAD_BYTES, HEAD_MAX};

use crate::config::Explain;
use crate::exit::Exit;
use crate::host::may_execute;

/// Where `execvp` looks when there is no `PATH` (glibc's `_CS_PATH`).
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// A program that can be run.
#[derive(Debug)]
pub struct ProgramFile {
    /// Where it was found.
    pub path: PathBuf,
    /// The file, open for reading.
    pub file: File,
    /// Its headers.
    pub image: elf::Program,
}

/// Why a program cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// No such file.
    #[error("there is no program {}", .0.display())]
    NoFile(PathBuf),
    /// Not in `PATH`.
    #[error("there is no program {} in PATH", .0.display())]
    NotInPath(PathBuf),
    /// A directory, a device, ...
    #[error("{} is not a regular file", .0.display())]
    NotRegular(PathBuf),
    /// The user may not execute it.
    #[error("{} is not executable for you", .0.display())]
    NotExecutable(PathBuf),
    /// It can be executed on Linux, but not read, which the LWK must.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not a program that an LWK can run.
    #[error("cannot run {}: {source}", path.display())]
    Elf {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ElfError,
    },
}

impl ProgramError {
    /// A shell's exit status for it.
    pub const fn exit(&self) -> Exit {
        match self {
            ProgramError::NoFile(_) | ProgramError::NotInPath(_) => Exit::NotFound,
            _ => Exit::CannotExecute,
        }
    }
}

impl Explain for ProgramError {
    fn hint(&self) -> Option<String> {
        match self {
            ProgramError::NoFile(_) => {
                Some("a path with a `/` counts from the current directory".to_owned())
            }
            ProgramError::NotInPath(name) => {
                let name = name.display();
                Some(format!("write its path, as ./{name}, or add its directory to PATH"))
            }
            ProgramError::NotRegular(_) => Some("name the program itself".to_owned()),
            ProgramError::NotExecutable(path) => Some(format!("chmod +x {}", path.display())),
            ProgramError::Unreadable { path, .. } => {
                Some(format!("the LWK loads a program by reading it: chmod +r {}", path.display()))
            }
            ProgramError::Elf { source, .. } => elf_hint(source),
        }
    }
}

fn elf_hint(error: &ElfError) -> Option<String> {
    let hint = match error {
        ElfError::Dynamic { .. } => {
            "this version runs static programs: link with -static, use Debian's -static packages (busybox-static), \
             CGO_ENABLED=0 for Go, or the target x86_64-unknown-linux-musl for Rust"
        }
        ElfError::NotElf => {
            "name the script's interpreter as the program and the script as its first argument"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

impl ProgramFile {
    /// Finds, opens and checks a program. A name without `/` is looked for in `PATH`.
    ///
    /// # Errors
    /// [`ProgramError`], each with its exit status and hint.
    pub fn open(name: &Path) -> Result<ProgramFile, ProgramError> {
        let path = if name.as_os_str().as_bytes().contains(&b'/') {
            check_file(name)?;
            name.to_owned()
        } else {
            let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
            find(name, &path)?
        };
        let file = File::open(&path)
            .map_err(|source| ProgramError::Unreadable { path: path.clone(), source })?;
        let image = parse(&file, &path)?;
        Ok(ProgramFile { path, file, image })
    }
}

/// Looks for a name in the directories of `path`. An empty directory is the current one. A file that cannot be executed is passed
/// over, but explains a search that finds no other.
fn find(name: &Path, path: &OsStr) -> Result<PathBuf, ProgramError> {
    let mut blamed = ProgramError::NotInPath(name.to_owned());
    for directory in env::split_paths(path) {
        let candidate = if directory.as_os_str().is_empty() {
            Path::new(".").join(name)
        } else {
            directory.join(name)
        };
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

/// Parses the headers, reading more where they lie further in.
fn parse(file: &File, path: &Path) -> Result<elf::Program, ProgramError> {
    let mut wanted = HEAD_BYTES;
    loop {
        let head = read_head(file, wanted)
            .map_err(|source| ProgramError::Unreadable { path: path.to_owned(), source })?;
        match elf::Program::parse(&head) {
            Ok(image) => return Ok(image),
            // Only when the file really has more, and each time more: the loop ends.
            Err(ElfError::Incomplete { needed })
                if head.len() == wanted && needed > wanted && needed <= HEAD_MAX =>
            {
                wanted = needed;
            }
            Err(source) => return Err(ProgramError::Elf { path: path.to_owned(), source }),
        }
    }
}

/// The first `wanted` bytes, or all that there are.
fn read_head(file: &File, wanted: usize) -> io::Result<Vec<u8>> {
    let mut head = vec![0; wanted];
    let mut read = 0;
    while read < wanted {
        match file.read_at(&mut head[read..], read as u64)? {
            0 => break,
            n => read += n,
        }
    }
    head.truncate(read);
    Ok(head)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    use lwk_core::elf::ElfError;

    use super::{ProgramError, ProgramFile, find};
    use crate::config::Explain;

    struct Directory(tempfile::TempDir);

    impl Directory {
        fn file(&self, name: &str, mode: u32, bytes: &[u8]) -> PathBuf {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    fn directory() -> Directory {
        Directory(tempfile::tempdir().unwrap())
    }

    /// Headers of a minimal static x86-64 program with one segment.
    fn elf(machine: u16, interpreter: bool) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend(2_u16.to_le_bytes());
        file.extend(machine.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        for word in [0x40_0000_u64, 64, 0] {
            file.extend(word.to_le_bytes());
        }
        file.extend(0_u32.to_le_bytes());
        for half in [64_u16, 56, if interpreter { 2 } else { 1 }, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let header = |kind: u32, flags: u32, words: [u64; 6]| {
            let mut bytes = [kind.to_le_bytes(), flags.to_le_bytes()].concat();
            words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
            bytes
        };
        file.extend(header(1, 5, [0, 0x40_0000, 0x40_0000, 0x1000, 0x1000, 0x1000]));
        if interpreter {
            file.extend(header(3, 4, [0x200, 0x40_0200, 0x40_0200, 16, 16, 1]));
        }
        file.resize(0x1000, 0);
        file[0x200..0x210].copy_from_slice(b"/lib/ld-linux.so");
        file[0x20f] = 0;
        file
    }

    fn code(path: &Path) -> u8 {
        ProgramFile::open(path).unwrap_err().exit().code()
    }

    #[test]
    fn a_static_program_is_opened() {
        let dir = directory();
        let path = dir.file("good", 0o755, &elf(62, false));
        let program = ProgramFile::open(&path).unwrap();
        assert_eq!(program.path, path);
        assert_eq!(program.image.entry, 0x40_0000);
    }

    #[test]
    fn a_missing_program_is_127() {
        let dir = directory();
        let file = dir.file("file", 0o755, b"");
        assert_eq!(code(&dir.0.path().join("none")), 127);
        assert_eq!(code(&file.join("below-a-file")), 127);
        assert_eq!(code(Path::new("no-such-program-in-any-path")), 127);
        assert_eq!(code(Path::new("")), 127);
    }

    #[test]
    fn what_cannot_be_executed_is_126() {
        let dir = directory();
        assert_eq!(code(dir.0.path()), 126);
        assert_eq!(code(&dir.file("plain", 0o644, &elf(62, false))), 126);
        assert_eq!(code(&dir.file("script", 0o755, b"#!/bin/sh\n")), 126);
        assert_eq!(code(&dir.file("empty", 0o755, b"")), 126);
        let arm = ProgramFile::open(&dir.file("arm", 0o755, &elf(183, false))).unwrap_err();
        assert!(matches!(&arm, ProgramError::Elf { source: ElfError::WrongMachine { .. }, .. }));
        assert_eq!(arm.exit().code(), 126);
    }

    #[test]
    fn a_dynamic_program_names_its_interpreter_and_the_remedy() {
        let dir = directory();
        let error = ProgramFile::open(&dir.file("dynamic", 0o755, &elf(62, true))).unwrap_err();
        assert_eq!(error.exit().code(), 126);
        assert!(error.to_string().contains("/lib/ld-linux.s"), "{error}");
        assert!(error.hint().unwrap().contains("-static"));
    }

    #[test]
    fn names_are_looked_for_as_execvp_does() {
        let dir = directory();
        dir.file("one/tool", 0o644, b"");
        let second = dir.file("two/tool", 0o755, b"");
        dir.file("one/plain", 0o644, b"");
        let path =
            std::env::join_paths(["one", "two"].map(|name| dir.0.path().join(name))).unwrap();
        assert_eq!(find(Path::new("tool"), &path).unwrap(), second);
        let plain = find(Path::new("plain"), &path).unwrap_err();
        assert!(matches!(plain, ProgramError::NotExecutable(_)), "{plain}");
        let none = find(Path::new("none"), &path).unwrap_err();
        assert!(matches!(none, ProgramError::NotInPath(_)), "{none}");
    }
}
