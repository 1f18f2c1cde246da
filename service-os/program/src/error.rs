//! Why a program cannot be run, what to do about it, and what a shell's exit status for it is.

use std::io;
use std::path::PathBuf;

use lwk_core::elf::ElfError;
use thiserror::Error;

/// Why a program cannot be run.
#[derive(Debug, Error)]
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
    /// A shell's exit status for it: 127 for a program that is not there, 126 for one that is.
    pub const fn status(&self) -> u8 {
        match self {
            ProgramError::NoFile(_) | ProgramError::NotInPath(_) => 127,
            _ => 126,
        }
    }

    /// What the user can do; `None` where the message says it all.
    pub fn hint(&self) -> Option<String> {
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
