//! Guest memory: what holds it, and how long it is.

use std::fs::File;
use std::io;

/// The LWK's memory: a memfd on the host, a DAX device in a service VM. It does not shrink.
#[derive(Debug)]
pub struct GuestMemory {
    file: File,
    bytes: u64,
}

impl GuestMemory {
    /// The first `bytes` of `file`.
    ///
    /// # Errors
    /// The file is shorter (`EINVAL`). A device cannot be asked: there it is its maker who has to know.
    pub fn new(file: File, bytes: u64) -> io::Result<GuestMemory> {
        let metadata = file.metadata()?;
        if metadata.is_file() && metadata.len() < bytes {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        Ok(GuestMemory { file, bytes })
    }

    /// What to map.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Its length.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }
}
