//! A tap interface of the host (Linux: Documentation/networking/tuntap.rst).

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use thiserror::Error;

use super::HEADER_LEN;
use crate::linux::virtio::sys;

/// Where tap interfaces are attached to.
const DEVICE: &str = "/dev/net/tun";

/// Why there is no network.
#[derive(Debug, Error)]
pub enum NetError {
    /// The host has no tap interfaces.
    #[error(
        "there is no /dev/net/tun: load the module (`modprobe tun`), or start the VMM where the device is"
    )]
    NoTun,
    /// The file may not be opened.
    #[error(
        "may not open /dev/net/tun: its mode should be 0666, or start the VMM as a user who may"
    )]
    TunDenied,
    /// No interface has this name.
    #[error(
        "there is no network interface {0}: make it with `ip tuntap add dev {0} mode tap user $USER`"
    )]
    NoInterface(String),
    /// The interface belongs to somebody else.
    #[error(
        "may not use tap interface {0}: make it for this user, `ip tuntap add dev {0} mode tap user $USER`"
    )]
    Denied(String),
    /// Another process, perhaps another guest, is attached to it.
    #[error("tap interface {0} is in use: give each guest one of its own")]
    Busy(String),
    /// The interface is there, but is of another kind.
    #[error(
        "{0} is not a tap interface of one queue: name one that `ip tuntap` lists as tap without multi_queue"
    )]
    NotTap(String),
    /// Anything else that the system says.
    #[error("cannot attach to tap interface {name}: {source}")]
    Attach {
        /// The interface.
        name: String,
        /// The system's error.
        source: io::Error,
    },
    /// Frames cannot be waited for.
    #[error("cannot wait for frames of the tap interface: {0}")]
    Wait(io::Error),
}

/// An existing tap interface, attached to: what is written leaves through it into the host. Each read and write is one frame
/// behind a virtio header.
#[derive(Debug)]
pub struct Tap(File);

impl Tap {
    /// Attaches to an interface, which nobody else is attached to.
    ///
    /// # Errors
    /// See [`NetError`].
    pub fn open(name: &str) -> Result<Tap, NetError> {
        // TUNSETIFF would make what is not there, or cut a name that is too long, if the user has the right.
        if !sys::interface_exists(name) {
            return Err(NetError::NoInterface(name.into()));
        }
        let opened =
            OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE);
        let file = opened.map_err(|source| match source.kind() {
            ErrorKind::NotFound => NetError::NoTun,
            ErrorKind::PermissionDenied => NetError::TunDenied,
            _ => match source.raw_os_error() {
                // The device file is there, the driver is not.
                Some(libc::ENODEV | libc::ENXIO) => NetError::NoTun,
                _ => NetError::Attach { name: name.into(), source },
            },
        })?;
        sys::attach_tap(file.as_fd(), name, HEADER_LEN as libc::c_int).map_err(|source| {
            match source.raw_os_error() {
                Some(libc::EPERM) => NetError::Denied(name.into()),
                Some(libc::EBUSY) => NetError::Busy(name.into()),
                Some(libc::EINVAL) => NetError::NotTap(name.into()),
                _ => NetError::Attach { name: name.into(), source },
            }
        })?;
        Ok(Tap(file))
    }

    /// Where frames are read and written; it never blocks.
    pub(super) fn into_file(self) -> File {
        self.0
    }

    /// Another file that keeps frames apart, and does not block.
    #[cfg(test)]
    pub(super) fn from_file(file: File) -> Tap {
        Tap(file)
    }
}
