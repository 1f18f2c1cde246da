//! The command line, written by the VMM: `--fds BASE --spin-us N --program PATH`.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// What the VMM tells the proxy.
#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    /// First of the descriptors that the VMM passes; see [`crate::guard::Reserved`].
    pub fds: RawFd,
    /// How long to poll for a request before sleeping.
    pub spin: Duration,
    /// The program.
    pub program: PathBuf,
}

/// What is wrong with a command line.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ArgsError {
    /// Nothing of this name is known.
    #[error("unknown argument {0:?}")]
    Unknown(OsString),
    /// A name without a value.
    #[error("{0} needs a value")]
    NoValue(&'static str),
    /// The value should be a number.
    #[error("{0} needs a number, not {1:?}")]
    NotANumber(&'static str, OsString),
    /// The argument is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
}

const FDS: &str = "--fds";
const SPIN_US: &str = "--spin-us";
const PROGRAM: &str = "--program";

impl Args {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// See [`ArgsError`].
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, ArgsError> {
        let (mut fds, mut spin, mut program) = (None::<u16>, None::<u32>, None);
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            let mut value = |name| args.next().ok_or(ArgsError::NoValue(name));
            match name.to_str() {
                Some(FDS) => fds = Some(number(FDS, value(FDS)?)?),
                Some(SPIN_US) => spin = Some(number(SPIN_US, value(SPIN_US)?)?),
                Some(PROGRAM) => program = Some(value(PROGRAM)?.into()),
                _ => return Err(ArgsError::Unknown(name)),
            }
        }
        Ok(Args {
            fds: RawFd::from(fds.ok_or(ArgsError::Missing(FDS))?),
            spin: Duration::from_micros(spin.ok_or(ArgsError::Missing(SPIN_US))?.into()),
            program: program.ok_or(ArgsError::Missing(PROGRAM))?,
        })
    }
}

/// A number; small enough that what is added to it later cannot overflow.
fn number<T: TryFrom<u32>>(name: &'static str, value: OsString) -> Result<T, ArgsError> {
    let parsed = value.to_str().and_then(|text| text.parse::<u32>().ok());
    parsed.and_then(|n| T::try_from(n).ok()).ok_or(ArgsError::NotANumber(name, value))
}

#[cfg(test)]
mod tests {
    use super::{Args, ArgsError, Duration};

    fn parse(line: &str) -> Result<Args, ArgsError> {
        Args::parse(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn what_the_vmm_writes_is_read() {
        let want = Args { fds: 700, spin: Duration::from_micros(50), program: "/bin/true".into() };
        assert_eq!(parse("--fds 700 --spin-us 50 --program /bin/true"), Ok(want));
    }

    #[test]
    fn each_mistake_is_named() {
        assert_eq!(parse("--fds"), Err(ArgsError::NoValue("--fds")));
        assert_eq!(parse("--fds -1"), Err(ArgsError::NotANumber("--fds", "-1".into())));
        assert_eq!(parse("--spin-us 3 --fds 3"), Err(ArgsError::Missing("--program")));
        assert_eq!(parse("--help"), Err(ArgsError::Unknown("--help".into())));
    }
}
