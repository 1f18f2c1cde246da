//! Node files for tests.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use crate::Mode;

/// A node file in a folder of its own, which goes when this goes.
pub struct NodeFile {
    dir: TempDir,
}

impl NodeFile {
    /// One small LWK in the given mode.
    pub fn new(mode: &Mode) -> NodeFile {
        NodeFile::with_memory(mode, "64M")
    }

    /// The same with another amount of memory.
    pub fn with_memory(mode: &Mode, memory: &str) -> NodeFile {
        NodeFile::from_text(&format!(
            "[service]\nkind = \"host\"\n\n[[lwk]]\nname = \"test\"\nmemory = \"{memory}\"\n\
             isolation = \"{}\"\ndelegation = \"{}\"\n",
            mode.isolation, mode.delegation
        ))
    }

    /// Any text, right or wrong.
    ///
    /// # Panics
    /// If there is no room for it.
    pub fn from_text(text: &str) -> NodeFile {
        let node = NodeFile { dir: tempfile::tempdir().expect("a temporary folder can be made") };
        fs::write(node.path(), text).expect("a temporary folder can be written");
        node
    }

    /// Where the file is.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("node.toml")
    }
}
