//! The file behind a disk.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::SECTOR;
use crate::linux::virtio::sys::{self, Lock};

/// What the guest may do with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskAccess {
    /// It reads; other guests may do so too at the same time.
    ReadOnly,
    /// It reads and writes, and nobody else may use the image.
    ReadWrite,
}

/// Why an image cannot be a disk.
#[derive(Debug, Error)]
pub enum BlockError {
    /// There is no such file.
    #[error("no disk image {0}: create it, or correct the path")]
    Missing(PathBuf),
    /// The file, or the file system that it is on, may not be written.
    #[error(
        "disk image {0} cannot be written: make it writable, or give the disk to the guest read-only"
    )]
    NotWritable(PathBuf),
    /// Somebody else uses it, and one of both may write.
    #[error(
        "disk image {0} is locked, another guest uses it: stop that one (`fuser -v {0}` names the process), use a copy, or let all use it read-only"
    )]
    Locked(PathBuf),
    /// A directory, or something else that has no contents to address.
    #[error("{0} is neither a file nor a block device: give the path of a raw disk image")]
    NotAnImage(PathBuf),
    /// Not a whole number of sectors, or none at all.
    #[error(
        "disk image {path} has {len} bytes, which is not a multiple of 512 above 0: is it a raw image?"
    )]
    Size {
        /// The image.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// Anything else that the system says.
    #[error("cannot open disk image {path}: {source}")]
    Open {
        /// The image.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A raw image, open and locked.
#[derive(Debug)]
pub(super) struct Image {
    file: File,
    access: DiskAccess,
    len: u64,
}

impl Image {
    /// Opens and locks an image.
    ///
    /// # Errors
    /// See [`BlockError`].
    pub fn open(path: &Path, access: DiskAccess) -> Result<Image, BlockError> {
        let writes = access == DiskAccess::ReadWrite;
        let failed = |source: io::Error| match source.kind() {
            ErrorKind::NotFound => BlockError::Missing(path.into()),
            ErrorKind::IsADirectory => BlockError::NotAnImage(path.into()),
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem if writes => {
                BlockError::NotWritable(path.into())
            }
            _ => BlockError::Open { path: path.into(), source },
        };
        // A FIFO without the other end would wait at open.
        let kind = path.metadata().map_err(failed)?.file_type();
        if !kind.is_file() && !kind.is_block_device() {
            return Err(BlockError::NotAnImage(path.into()));
        }
        let mut file = OpenOptions::new().read(true).write(writes).open(path).map_err(failed)?;
        let lock = if writes { Lock::Exclusive } else { Lock::Shared };
        sys::lock(file.as_fd(), lock).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock => BlockError::Locked(path.into()),
            _ => failed(error),
        })?;
        // Block devices have no length in their metadata.
        let len = file.seek(SeekFrom::End(0)).map_err(failed)?;
        if len == 0 || !len.is_multiple_of(SECTOR) {
            return Err(BlockError::Size { path: path.into(), len });
        }
        Ok(Image { file, access, len })
    }

    /// What the guest may do.
    pub fn access(&self) -> DiskAccess {
        self.access
    }

    /// Bytes, a multiple of 512; as it was when it was opened.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Reads at a byte position.
    ///
    /// # Errors
    /// The host's disk's, and `UnexpectedEof` if somebody cut the file.
    pub fn read(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, at)
    }

    /// Writes at a byte position.
    ///
    /// # Errors
    /// The host's disk's; EBADF for a read-only image.
    pub fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    /// Waits until what was written is on the disk.
    ///
    /// # Errors
    /// The host's disk's.
    pub fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
