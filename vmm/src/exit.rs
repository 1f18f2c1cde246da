//! The exit codes of `margay`: a shell's convention, so that scripts and schedulers need to know nothing new.

use std::process::ExitCode;

/// How the command ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// The command did what it was asked to do.
    Success,
    /// The program ended by itself with this status.
    Status(u8),
    /// The program was ended by this signal: 128 + n.
    Signal(u8),
    /// A wrong command line, a mistake in the node file, or a partition that this host cannot give.
    Usage,
    /// Margay itself, or the host under it, failed; the program did not run to its end.
    Failure,
    /// The program was found, but cannot be run.
    CannotExecute,
    /// The program was not found.
    NotFound,
}

impl Exit {
    /// The number that the process exits with.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Status(status) => status,
            Exit::Usage => 2,
            Exit::Failure => 125,
            Exit::CannotExecute => 126,
            Exit::NotFound => 127,
            Exit::Signal(signal) => 128_u8.wrapping_add(signal),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn codes_are_the_documented_ones() {
        let codes = [
            (Exit::Success, 0),
            (Exit::Status(7), 7),
            (Exit::Usage, 2),
            (Exit::Failure, 125),
            (Exit::CannotExecute, 126),
            (Exit::NotFound, 127),
            (Exit::Signal(11), 139),
            (Exit::Signal(4), 132),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }
}
