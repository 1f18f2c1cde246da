//! Where Margay's other parts are: beside this executable, so that the whole can be moved and installed as it is.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// The LWK's image.
const LWK: &str = "margay-lwk";
/// The proxy.
const PROXY: &str = "margay-proxy";

/// The parts that a run needs.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The LWK's ELF image.
    pub lwk: PathBuf,
    /// The proxy's executable.
    pub proxy: PathBuf,
}

/// Why a part cannot be used.
#[derive(Debug, Error)]
pub enum PartsError {
    /// It is not there, or not readable.
    #[error("cannot open {}: {source}; it belongs beside the margay executable (`./x build` puts it there)", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// This executable's own place is unknown.
    #[error("cannot find out where margay itself is: {0}")]
    Unknown(#[source] io::Error),
}

impl Parts {
    /// Finds the parts.
    pub fn find() -> Result<Parts, PartsError> {
        let this = std::env::current_exe().map_err(PartsError::Unknown)?;
        let directory = this.parent().unwrap_or(Path::new("/"));
        let parts = Parts { lwk: directory.join(LWK), proxy: directory.join(PROXY) };
        for part in [&parts.lwk, &parts.proxy] {
            open(part)?;
        }
        Ok(parts)
    }
}

fn open(path: &Path) -> Result<File, PartsError> {
    File::open(path).map_err(|source| PartsError::Missing { path: path.to_owned(), source })
}
