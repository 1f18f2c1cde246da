//! Where the tests run, and where the things under test are.

use std::{env, path::PathBuf, time::Duration};

/// The machine that the tests run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The developer's machine.
    Native,
    /// The virtual node: correct but slow.
    VirtualNode,
}

/// The place of this run.
pub fn place() -> Place {
    if env::var_os("MARGAY_TEST_IN_NODE").is_some() { Place::VirtualNode } else { Place::Native }
}

impl Place {
    /// How long one run may take.
    pub fn time_limit(self) -> Duration {
        match self {
            Place::Native => Duration::from_secs(60),
            Place::VirtualNode => Duration::from_secs(120),
        }
    }

    /// How often to do what takes a boot of an LWK: `natively`, or less often where a boot takes a second.
    pub fn times(self, natively: u32) -> u32 {
        match self {
            Place::Native => natively,
            Place::VirtualNode => (natively / 5).max(2),
        }
    }

    /// Size of the file that is checksummed.
    pub fn big_file_bytes(self) -> u64 {
        match self {
            Place::Native => 1 << 30,
            Place::VirtualNode => 4 << 20,
        }
    }

    /// Lines of the file that is sorted.
    pub fn lines_to_sort(self) -> u32 {
        match self {
            Place::Native => 1_000_000,
            Place::VirtualNode => 10_000,
        }
    }

    /// Memory for an LWK that sorts them. Giving memory to a guest takes long under emulation.
    pub fn memory_to_sort(self) -> &'static str {
        match self {
            Place::Native => "512M",
            Place::VirtualNode => "64M",
        }
    }
}

/// The command under test: `margay` in the folder that `MARGAY_DIST` names.
pub fn margay() -> PathBuf {
    folder("MARGAY_DIST").join("margay")
}

/// A program of `tests/programs/`, as named by the build: `args.musl`, `heat.fortran`.
///
/// # Panics
/// If it was not built.
pub fn program(name: &str) -> PathBuf {
    let path = folder("MARGAY_TEST_PROGRAMS").join(name);
    assert!(path.is_file(), "no {}; run the tests by `./x test`", path.display());
    path
}

/// Debian's static busybox.
pub fn busybox() -> PathBuf {
    PathBuf::from("/bin/busybox")
}

fn folder(variable: &str) -> PathBuf {
    match env::var_os(variable) {
        Some(path) => path.into(),
        None => panic!("{variable} is not set; run the tests by `./x test`"),
    }
}
