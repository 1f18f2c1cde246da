//! A file that lies wholly in the page cache, for the read benchmark.
//!
//! It has no name, so nothing is left however the benchmark ends, and is opened through `/proc` by whoever reads it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::BenchError;
use crate::units::Bytes;

/// The file; it is gone with this value.
#[derive(Debug)]
pub(super) struct WarmFile {
    file: File,
}

impl WarmFile {
    /// Makes a file of `size`, in memory where the system has a place for that.
    ///
    /// # Errors
    /// [`BenchError::WarmFile`] when there is no room.
    pub(super) fn create(size: Bytes) -> Result<WarmFile, BenchError> {
        let failed = |source| BenchError::WarmFile { bytes: size.0, source };
        let memory = create_nameless(Path::new("/dev/shm"));
        let file = memory.or_else(|_| create_nameless(&std::env::temp_dir())).map_err(failed)?;
        fill(&file, size.0).map_err(failed)?;
        Ok(WarmFile { file })
    }

    /// A path by which every process of this user can open it.
    pub(super) fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }
}

fn create_nameless(folder: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).open(folder)
}

/// Writes `bytes` bytes of which no two pages are alike.
fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    const BLOCK: u64 = 1 << 20;
    let mut block = Vec::with_capacity(BLOCK as usize);
    for start in (0..bytes).step_by(BLOCK as usize) {
        block.clear();
        let words = (start..start + BLOCK).step_by(8);
        block.extend(words.flat_map(|at| (at ^ 0x6d61_7267_6179).to_le_bytes()));
        file.write_all(&block[..BLOCK.min(bytes - start) as usize])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::WarmFile;
    use crate::units::Bytes;

    #[test]
    fn can_be_opened_by_its_path_while_it_lives() {
        let size = Bytes((1 << 20) + 5);
        let file = WarmFile::create(size).unwrap();
        let path = file.path();
        let read = std::fs::read(&path).unwrap();
        assert_eq!(read.len() as u64, size.0);
        assert_ne!(read[..4096], read[4096..8192]);
        drop(file);
    }
}
