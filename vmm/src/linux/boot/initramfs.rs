//! The initramfs: several archives as one (Linux `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use margay_abi::layout::PAGE;
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};

use super::BootError;
use crate::units::Bytes;

/// Archives that a kernel unpacks one over the other: cpio, compressed or not.
#[derive(Debug)]
pub struct Initramfs {
    files: Vec<Archive>,
    /// A further archive, unpacked last. May be empty.
    extra: Vec<u8>,
    /// Bytes of all of them with what lies between.
    total: u64,
}

#[derive(Debug)]
struct Archive {
    path: PathBuf,
    file: File,
    bytes: u64,
}

/// Archives begin at multiples of this; zeroes before them are skipped.
const ALIGN: u64 = 4;

impl Initramfs {
    /// Opens the archives `paths`.
    ///
    /// # Errors
    /// [`BootError::Initramfs`] where one cannot be read.
    pub fn open(paths: &[PathBuf], extra: Vec<u8>) -> Result<Initramfs, BootError> {
        let mut files = Vec::with_capacity(paths.len());
        let mut total: u64 = 0;
        for path in paths {
            let failed = |source| BootError::Initramfs { path: path.clone(), source };
            let file = File::open(path).map_err(failed)?;
            let metadata = file.metadata().map_err(failed)?;
            if !metadata.is_file() {
                return Err(failed(io::Error::other("it is not a regular file")));
            }
            let bytes = metadata.len();
            files.push(Archive { path: path.clone(), file, bytes });
            total = total.saturating_add(bytes).next_multiple_of(ALIGN);
        }
        total = total.saturating_add(extra.len() as u64);
        Ok(Initramfs { files, extra, total })
    }

    /// Puts the archives as high in `room` as they fit, at a page's start. Returns where, an empty range for no archives.
    ///
    /// # Errors
    /// [`BootError::InitramfsTooBig`] where they do not fit.
    pub fn place(
        self,
        memory: &GuestMemoryMmap,
        room: Range<u64>,
    ) -> Result<Range<u64>, BootError> {
        if self.total == 0 {
            return Ok(0..0);
        }
        let available = room.end.saturating_sub(room.start.next_multiple_of(PAGE));
        if self.total > available / PAGE * PAGE {
            let (bytes, room) = (Bytes(self.total), Bytes(available));
            return Err(BootError::InitramfsTooBig { bytes, room });
        }
        let start = (room.end - self.total) / PAGE * PAGE;
        let mut at = start;
        for Archive { path, mut file, bytes } in self.files {
            memory.read_exact_volatile_from(GuestAddress(at), &mut file, bytes as usize).map_err(
                |error| {
                    let source = io::Error::other(error.to_string());
                    BootError::Initramfs { path, source }
                },
            )?;
            at = (at + bytes).next_multiple_of(ALIGN);
        }
        memory.write_slice(&self.extra, GuestAddress(at))?;
        Ok(start..start + self.total)
    }
}
