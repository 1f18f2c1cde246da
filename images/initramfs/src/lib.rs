//! Writes the archive that Linux unpacks as its first file system (initramfs).
//!
//! The format is "newc", documented in Linux's `Documentation/driver-api/early-userspace/buffer-format.rst`.
//! Writing it ourselves makes device nodes and root's files without being root.

use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive under construction. All files belong to root; parents of a path are made as needed.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    inodes: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    /// Adds a regular file; `mode` has the permission bits, `path` no leading slash.
    pub fn file(&mut self, path: &str, mode: u32, data: &[u8]) {
        self.parents_of(path);
        self.entry(path, REGULAR | mode, (0, 0), data);
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) {
        self.parents_of(path);
        self.entry(path, SYMLINK | 0o777, (0, 0), target.as_bytes());
    }

    /// Adds a directory that anybody may enter.
    pub fn directory(&mut self, path: &str) {
        self.parents_of(path);
        if self.directories.insert(path.to_owned()) {
            self.entry(path, DIRECTORY | 0o755, (0, 0), &[]);
        }
    }

    /// Adds a character device with its major and minor number.
    pub fn character_device(&mut self, path: &str, device: (u32, u32)) {
        self.parents_of(path);
        self.entry(path, CHARACTER_DEVICE | 0o600, device, &[]);
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.inodes = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn parents_of(&mut self, path: &str) {
        let ends: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
        for end in ends {
            let parent = path[..end].to_owned();
            if self.directories.insert(parent.clone()) {
                self.entry(&parent, DIRECTORY | 0o755, (0, 0), &[]);
            }
        }
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        self.inodes += 1;
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let size = u32::try_from(data.len()).expect("an initramfs file is smaller than 4 GiB");
        let name_size = path.len() as u32 + 1;
        // ino, mode, uid, gid, nlink, mtime, filesize, device of the file system, device number, namesize, check
        let fields =
            [self.inodes, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(data);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Archive;

    /// Reads the archive back by the format's definition.
    fn names_and_sizes(archive: &[u8]) -> Vec<(String, u32, usize)> {
        let (mut at, mut found) = (0, Vec::new());
        loop {
            assert_eq!(&archive[at..at + 6], b"070701");
            let field = |i: usize| {
                let start = at + 6 + 8 * i;
                u32::from_str_radix(std::str::from_utf8(&archive[start..start + 8]).unwrap(), 16)
                    .unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = String::from_utf8_lossy(&archive[at + 110..at + 110 + name_size - 1]);
            if name == "TRAILER!!!" {
                return found;
            }
            found.push((name.into_owned(), mode, size));
            at = (at + 110 + name_size).next_multiple_of(4) + size.next_multiple_of(4);
        }
    }

    #[test]
    fn entries_read_back_with_parents_first() {
        let mut archive = Archive::default();
        archive.file("a/b/file", 0o755, b"12345");
        archive.symlink("a/link", "b/file");
        archive.directory("a/b");
        archive.character_device("dev/console", (5, 1));
        let got = names_and_sizes(&archive.finish());
        let want = [
            ("a", 0o040_755, 0),
            ("a/b", 0o040_755, 0),
            ("a/b/file", 0o100_755, 5),
            ("a/link", 0o120_777, 6),
            ("dev", 0o040_755, 0),
            ("dev/console", 0o020_600, 0),
        ];
        let want = want.map(|(name, mode, size)| (name.to_owned(), mode, size));
        assert_eq!(got, want);
    }
}
