//! A program file for an LWK: found, opened, its headers read.

use std::env;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use lwk_core::elf::{self, ElfError, HEAD_BYTES, HEAD_MAX};

use crate::{ProgramError, Surroundings, find};

/// A program that can be run.
#[derive(Debug)]
pub struct ProgramFile {
    /// Where it was found.
    pub path: PathBuf,
    /// The file, open for reading.
    pub file: File,
    /// Its headers.
    pub image: elf::Program,
}

impl ProgramFile {
    /// Finds, opens and checks a program, in the surroundings of this process.
    ///
    /// # Errors
    /// [`ProgramError`], each with its exit status and hint.
    pub fn open(name: &Path) -> Result<ProgramFile, ProgramError> {
        let path = env::var_os("PATH");
        ProgramFile::open_in(
            name,
            &Surroundings { path: path.as_deref(), directory: Path::new("") },
        )
    }

    /// Finds, opens and checks a program, in the surroundings of another.
    ///
    /// # Errors
    /// [`ProgramError`], each with its exit status and hint.
    pub fn open_in(name: &Path, around: &Surroundings<'_>) -> Result<ProgramFile, ProgramError> {
        let path = find(name, around)?;
        let file = File::open(&path)
            .map_err(|source| ProgramError::Unreadable { path: path.clone(), source })?;
        let image = parse(&file, &path)?;
        Ok(ProgramFile { path, file, image })
    }
}

/// Parses the headers, reading more where they lie further in.
fn parse(file: &File, path: &Path) -> Result<elf::Program, ProgramError> {
    let mut wanted = HEAD_BYTES;
    loop {
        let head = read_head(file, wanted)
            .map_err(|source| ProgramError::Unreadable { path: path.to_owned(), source })?;
        match elf::Program::parse(&head) {
            Ok(image) => return Ok(image),
            // Only when the file really has more, and each time more: the loop ends.
            Err(ElfError::Incomplete { needed })
                if head.len() == wanted && needed > wanted && needed <= HEAD_MAX =>
            {
                wanted = needed;
            }
            Err(source) => return Err(ProgramError::Elf { path: path.to_owned(), source }),
        }
    }
}

/// The first `wanted` bytes, or all that there are.
fn read_head(file: &File, wanted: usize) -> io::Result<Vec<u8>> {
    let mut head = vec![0; wanted];
    let mut read = 0;
    while read < wanted {
        match file.read_at(&mut head[read..], read as u64)? {
            0 => break,
            n => read += n,
        }
    }
    head.truncate(read);
    Ok(head)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    use lwk_core::elf::ElfError;

    use super::ProgramFile;
    use crate::ProgramError;

    struct Directory(tempfile::TempDir);

    impl Directory {
        fn file(&self, name: &str, mode: u32, bytes: &[u8]) -> PathBuf {
            let path = self.0.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }
    }

    fn directory() -> Directory {
        Directory(tempfile::tempdir().unwrap())
    }

    /// Headers of a minimal static x86-64 program with one segment.
    fn elf(machine: u16, interpreter: bool) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend(2_u16.to_le_bytes());
        file.extend(machine.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        for word in [0x40_0000_u64, 64, 0] {
            file.extend(word.to_le_bytes());
        }
        file.extend(0_u32.to_le_bytes());
        for half in [64_u16, 56, if interpreter { 2 } else { 1 }, 64, 0, 0] {
            file.extend(half.to_le_bytes());
        }
        let header = |kind: u32, flags: u32, words: [u64; 6]| {
            let mut bytes = [kind.to_le_bytes(), flags.to_le_bytes()].concat();
            words.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
            bytes
        };
        file.extend(header(1, 5, [0, 0x40_0000, 0x40_0000, 0x1000, 0x1000, 0x1000]));
        if interpreter {
            file.extend(header(3, 4, [0x200, 0x40_0200, 0x40_0200, 16, 16, 1]));
        }
        file.resize(0x1000, 0);
        file[0x200..0x210].copy_from_slice(b"/lib/ld-linux.so");
        file[0x20f] = 0;
        file
    }

    fn code(path: &Path) -> u8 {
        ProgramFile::open(path).unwrap_err().status()
    }

    #[test]
    fn a_static_program_is_opened() {
        let dir = directory();
        let path = dir.file("good", 0o755, &elf(62, false));
        let program = ProgramFile::open(&path).unwrap();
        assert_eq!(program.path, path);
        assert_eq!(program.image.entry, 0x40_0000);
    }

    #[test]
    fn a_missing_program_is_127() {
        let dir = directory();
        let file = dir.file("file", 0o755, b"");
        assert_eq!(code(&dir.0.path().join("none")), 127);
        assert_eq!(code(&file.join("below-a-file")), 127);
        assert_eq!(code(Path::new("no-such-program-in-any-path")), 127);
        assert_eq!(code(Path::new("")), 127);
    }

    #[test]
    fn what_cannot_be_executed_is_126() {
        let dir = directory();
        assert_eq!(code(dir.0.path()), 126);
        assert_eq!(code(&dir.file("plain", 0o644, &elf(62, false))), 126);
        assert_eq!(code(&dir.file("script", 0o755, b"#!/bin/sh\n")), 126);
        assert_eq!(code(&dir.file("empty", 0o755, b"")), 126);
        let arm = ProgramFile::open(&dir.file("arm", 0o755, &elf(183, false))).unwrap_err();
        assert!(matches!(&arm, ProgramError::Elf { source: ElfError::WrongMachine { .. }, .. }));
        assert_eq!(arm.status(), 126);
    }

    #[test]
    fn a_dynamic_program_names_its_interpreter_and_the_remedy() {
        let dir = directory();
        let error = ProgramFile::open(&dir.file("dynamic", 0o755, &elf(62, true))).unwrap_err();
        assert_eq!(error.status(), 126);
        assert!(error.to_string().contains("/lib/ld-linux.s"), "{error}");
        assert!(error.hint().unwrap().contains("-static"));
    }
}
