//! Looks at a program before anything starts: [`margay_program`], with this crate's hints and exit statuses.

pub use margay_program::{ProgramError, ProgramFile};

use crate::config::Explain;
use crate::exit::Exit;

/// A shell's exit status for a program that cannot be run.
pub const fn exit(error: &ProgramError) -> Exit {
    match error {
        ProgramError::NoFile(_) | ProgramError::NotInPath(_) => Exit::NotFound,
        _ => Exit::CannotExecute,
    }
}

impl Explain for ProgramError {
    fn hint(&self) -> Option<String> {
        ProgramError::hint(self)
    }
}

#[cfg(test)]
mod tests {
    use super::{ProgramError, exit};

    #[test]
    fn the_exit_status_is_a_shells() {
        let path = std::path::PathBuf::from("program");
        for error in [
            ProgramError::NoFile(path.clone()),
            ProgramError::NotInPath(path.clone()),
            ProgramError::NotRegular(path.clone()),
            ProgramError::NotExecutable(path),
        ] {
            assert_eq!(exit(&error).code(), error.status(), "{error}");
        }
    }
}
