//! What a program left in its working directory, for comparison.

use std::{collections::BTreeMap, fmt, fs, io, os::unix::fs::PermissionsExt, path::Path};

/// A folder's content: for each path below it, what is there.
#[derive(PartialEq, Eq)]
pub struct Folder(BTreeMap<String, Entry>);

#[derive(PartialEq, Eq)]
enum Entry {
    File { mode: u32, data: Vec<u8> },
    Link(String),
    Folder { mode: u32 },
}

impl Folder {
    /// Reads everything below `dir`.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn read(dir: &Path) -> io::Result<Folder> {
        let mut entries = BTreeMap::new();
        collect(dir, "", &mut entries)?;
        Ok(Folder(entries))
    }
}

fn collect(dir: &Path, prefix: &str, into: &mut BTreeMap<String, Entry>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let metadata = entry.metadata()?;
        let mode = metadata.permissions().mode();
        if metadata.is_symlink() {
            let target = fs::read_link(entry.path())?;
            into.insert(name, Entry::Link(target.to_string_lossy().into_owned()));
        } else if metadata.is_dir() {
            collect(&entry.path(), &format!("{name}/"), into)?;
            into.insert(name, Entry::Folder { mode });
        } else {
            into.insert(name, Entry::File { mode, data: fs::read(entry.path())? });
        }
    }
    Ok(())
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, entry) in &self.0 {
            match entry {
                Entry::File { mode, data } => {
                    let start = String::from_utf8_lossy(&data[..data.len().min(60)]);
                    writeln!(f, "{mode:06o} {:>9} {name}: {start:?}", data.len())?;
                }
                Entry::Link(target) => writeln!(f, "link {name} -> {target}")?,
                Entry::Folder { mode } => writeln!(f, "{mode:06o} folder {name}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::Folder;

    #[test]
    fn every_difference_counts() {
        let dir = tempfile::tempdir().unwrap();
        let read = || Folder::read(dir.path()).unwrap();
        let empty = read();
        fs::create_dir(dir.path().join("a")).unwrap();
        let with_folder = read();
        fs::write(dir.path().join("a/file"), "one").unwrap();
        let with_file = read();
        fs::write(dir.path().join("a/file"), "two").unwrap();
        let with_change = read();
        symlink("a/file", dir.path().join("link")).unwrap();
        let with_link = read();
        let all = [empty, with_folder, with_file, with_change, with_link];
        for (i, a) in all.iter().enumerate() {
            for (j, b) in all.iter().enumerate() {
                assert_eq!(a == b, i == j, "{i} {j}");
            }
        }
    }
}
