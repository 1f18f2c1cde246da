//! Where things are in the source tree and among what is built.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The source tree's top.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask/ lies in the source tree").to_owned()
}

/// Cargo's target directory, where everything lies that can be made again.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// What an installer would copy.
pub fn dist() -> PathBuf {
    root().join("dist")
}

/// A path from the command line: relative to where the user stands, which `./x` leaves.
pub fn from_user(path: &Path) -> PathBuf {
    match std::env::var_os("MARGAY_CALLER_DIR") {
        Some(dir) => Path::new(&dir).join(path),
        None => path.to_owned(),
    }
}

/// Whether `product` is missing or was made before its source was last changed.
pub fn is_older(product: &Path, source: &Path) -> bool {
    let changed = |path: &Path| -> Option<SystemTime> { fs::metadata(path).ok()?.modified().ok() };
    match (changed(product), changed(source)) {
        (Some(product), Some(source)) => product < source,
        _ => true,
    }
}
