//! The command line: `margay-agent [--proxy FILE] [--socket PATH]`.

use std::ffi::OsString;
use std::path::PathBuf;

use thiserror::Error;

use crate::service::Power;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On virtio-vsock, for the host alone.
    Vsock,
    /// On a Unix socket, which does not exist yet: without a VM, for tests.
    Socket(PathBuf),
}

/// What the agent is to do.
#[derive(Debug, PartialEq, Eq)]
pub struct Args {
    /// The proxy's image.
    pub proxy: PathBuf,
    /// Where to listen.
    pub listen: Listen,
    /// What "power off" means.
    pub power: Power,
}

/// What is wrong with a command line.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ArgsError {
    /// Nothing of this name is known.
    #[error("unknown argument {0:?}; usage: margay-agent [--proxy FILE] [--socket PATH]")]
    Unknown(OsString),
    /// A name without a value.
    #[error("{0} needs a value")]
    NoValue(&'static str),
}

const PROXY: &str = "--proxy";
const SOCKET: &str = "--socket";
/// The proxy's place in the initramfs.
const PROXY_OF_INITRAMFS: &str = "/bin/margay-proxy";

impl Args {
    /// Process 1 has no command line of its own: the kernel passes it whatever it does not know itself.
    pub fn of_first_process() -> Args {
        Args { proxy: PROXY_OF_INITRAMFS.into(), listen: Listen::Vsock, power: Power::Kernel }
    }

    /// Reads the arguments after the program's name.
    ///
    /// # Errors
    /// See [`ArgsError`].
    pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, ArgsError> {
        let (mut proxy, mut socket) = (None, None);
        let mut args = args.into_iter();
        while let Some(name) = args.next() {
            let mut value = |name| args.next().map(PathBuf::from).ok_or(ArgsError::NoValue(name));
            match name.to_str() {
                Some(PROXY) => proxy = Some(value(PROXY)?),
                Some(SOCKET) => socket = Some(value(SOCKET)?),
                _ => return Err(ArgsError::Unknown(name)),
            }
        }
        let (listen, power) = match socket {
            Some(path) => (Listen::Socket(path), Power::Agent),
            None => (Listen::Vsock, Power::Command),
        };
        Ok(Args { proxy: proxy.unwrap_or_else(beside_this), listen, power })
    }
}

/// The proxy beside this program.
fn beside_this() -> PathBuf {
    const NAME: &str = "margay-proxy";
    std::env::current_exe().map_or(NAME.into(), |agent| agent.with_file_name(NAME))
}

#[cfg(test)]
mod tests {
    use super::{Args, ArgsError, Listen, Power};

    fn parse(line: &str) -> Result<Args, ArgsError> {
        Args::parse(line.split_whitespace().map(Into::into))
    }

    #[test]
    fn a_service_listens_to_the_host_and_a_test_on_a_socket() {
        let service = parse("").unwrap();
        assert_eq!((service.listen, service.power), (Listen::Vsock, Power::Command));
        assert!(service.proxy.ends_with("margay-proxy"));
        let test = parse("--socket /s --proxy /p").unwrap();
        let want =
            Args { proxy: "/p".into(), listen: Listen::Socket("/s".into()), power: Power::Agent };
        assert_eq!(test, want);
    }

    #[test]
    fn each_mistake_is_named() {
        assert_eq!(parse("--proxy"), Err(ArgsError::NoValue("--proxy")));
        assert_eq!(parse("-v"), Err(ArgsError::Unknown("-v".into())));
    }
}
