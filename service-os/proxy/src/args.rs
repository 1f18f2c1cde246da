//! The command line, written by whoever makes the proxy: `--fds BASE --memory-bytes N --spin-us N [--control FD] --program PATH`.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// What the proxy is told by its maker.
#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    /// First of the descriptors that are passed; see [`crate::guard::Reserved`].
    pub fds: RawFd,
    /// Bytes of guest memory. A device cannot be asked.
    pub memory_bytes: u64,
    /// The stream socket on which the maker says why the proxy must end, if it ever will; see [`crate::watch`].
    pub control: Option<RawFd>,
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
const MEMORY_BYTES: &str = "--memory-bytes";
const CONTROL: &str = "--control";
const SPIN_US: &str = "--spin-us";
const PROGRAM: &str = "--program";

impl Args {
    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// See [`ArgsError`].
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, ArgsError> {
        let (mut fds, mut memory_bytes, mut control) = (None::<u16>, None::<u64>, None::<u16>);
        let (mut spin, mut program) = (None::<u32>, None);
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            let mut value = |name| args.next().ok_or(ArgsError::NoValue(name));
            match name.to_str() {
                Some(FDS) => fds = Some(number(FDS, value(FDS)?)?),
                Some(MEMORY_BYTES) => {
                    memory_bytes = Some(number(MEMORY_BYTES, value(MEMORY_BYTES)?)?);
                }
                Some(CONTROL) => control = Some(number(CONTROL, value(CONTROL)?)?),
                Some(SPIN_US) => spin = Some(number(SPIN_US, value(SPIN_US)?)?),
                Some(PROGRAM) => program = Some(value(PROGRAM)?.into()),
                _ => return Err(ArgsError::Unknown(name)),
            }
        }
        Ok(Args {
            fds: RawFd::from(fds.ok_or(ArgsError::Missing(FDS))?),
            memory_bytes: memory_bytes.ok_or(ArgsError::Missing(MEMORY_BYTES))?,
            control: control.map(RawFd::from),
            spin: Duration::from_micros(spin.ok_or(ArgsError::Missing(SPIN_US))?.into()),
            program: program.ok_or(ArgsError::Missing(PROGRAM))?,
        })
    }
}

/// A number; small enough that what is added to it later cannot overflow.
fn number<T: TryFrom<u64>>(name: &'static str, value: OsString) -> Result<T, ArgsError> {
    let parsed = value.to_str().and_then(|text| text.parse::<u64>().ok());
    parsed.and_then(|n| T::try_from(n).ok()).ok_or(ArgsError::NotANumber(name, value))
}

#[cfg(test)]
mod tests {
    use super::{Args, ArgsError, Duration};

    fn parse(line: &str) -> Result<Args, ArgsError> {
        Args::parse(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn what_a_maker_writes_is_read() {
        let line = "--fds 700 --memory-bytes 5000000000 --spin-us 50 --program /bin/true";
        let mut want = Args {
            fds: 700,
            memory_bytes: 5_000_000_000,
            control: None,
            spin: Duration::from_micros(50),
            program: "/bin/true".into(),
        };
        assert_eq!(parse(line).as_ref(), Ok(&want));
        want.control = Some(9);
        assert_eq!(parse(&format!("--control 9 {line}")), Ok(want));
    }

    #[test]
    fn each_mistake_is_named() {
        assert_eq!(parse("--fds"), Err(ArgsError::NoValue("--fds")));
        assert_eq!(parse("--fds -1"), Err(ArgsError::NotANumber("--fds", "-1".into())));
        assert_eq!(parse("--fds 3 --spin-us 3"), Err(ArgsError::Missing("--memory-bytes")));
        let no_program = parse("--memory-bytes 3 --spin-us 3 --fds 3");
        assert_eq!(no_program, Err(ArgsError::Missing("--program")));
        assert_eq!(
            parse("--control 65536"),
            Err(ArgsError::NotANumber("--control", "65536".into()))
        );
        assert_eq!(parse("--help"), Err(ArgsError::Unknown("--help".into())));
    }
}
