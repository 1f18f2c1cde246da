//! The initramfs: several archives as one (Linux `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;

use margay_abi::layout::PAGE;
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};

use super::BootError;
use crate::units::Bytes;

/// Archives that a kernel unpacks one over the other.
#[derive(Clone, Copy, Debug)]
pub struct Initramfs<'a> {
    /// Files, each a cpio archive, compressed or not.
    pub files: &'a [PathBuf],
    /// A further archive, unpacked last. May be empty.
    pub extra: &'a [u8],
}

/// Archives begin at multiples of this; zeroes before them are skipped.
const ALIGN: u64 = 4;

impl Initramfs<'_> {
    /// Puts the archives as high in `room` as they fit, at a page's start. Returns where, an empty range for no archives.
    pub(super) fn place(
        &self,
        memory: &GuestMemoryMmap,
        room: Range<u64>,
    ) -> Result<Range<u64>, BootError> {
        let mut files = Vec::with_capacity(self.files.len());
        let mut total: u64 = 0;
        for path in self.files {
            let failed = |source| BootError::Initramfs { path: path.clone(), source };
            let file = File::open(path).map_err(failed)?;
            let bytes = file.metadata().map_err(failed)?.len();
            files.push((path, file, bytes));
            total = total.saturating_add(bytes).next_multiple_of(ALIGN);
        }
        total = total.saturating_add(self.extra.len() as u64);
        if total == 0 {
            return Ok(0..0);
        }
        let available = room.end.saturating_sub(room.start.next_multiple_of(PAGE));
        if total.next_multiple_of(PAGE) > available {
            let (bytes, room) = (Bytes(total), Bytes(available));
            return Err(BootError::InitramfsTooBig { bytes, room });
        }
        let start = (room.end - total) / PAGE * PAGE;
        let mut at = start;
        for (path, mut file, bytes) in files {
            memory.read_exact_volatile_from(GuestAddress(at), &mut file, bytes as usize).map_err(
                |error| BootError::Initramfs {
                    path: path.clone(),
                    source: std::io::Error::other(error.to_string()),
                },
            )?;
            at = (at + bytes).next_multiple_of(ALIGN);
        }
        memory.write_slice(self.extra, GuestAddress(at))?;
        Ok(start..start + total)
    }
}
