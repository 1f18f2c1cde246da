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

    /// The text for LWKs in the given mode, by their names; further lines for each. They may share a core.
    pub fn text(mode: &Mode, lwks: &[(&str, &str)]) -> String {
        let Mode { isolation, delegation } = mode;
        let lwk = |(name, more): &(&str, &str)| {
            format!(
                "\n[[lwk]]\nname = \"{name}\"\nmemory = \"64M\"\nisolation = \"{isolation}\"\n\
                 delegation = \"{delegation}\"\n{more}\n"
            )
        };
        "[node]\noversubscribe = true\n".to_owned() + &lwks.iter().map(lwk).collect::<String>()
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
