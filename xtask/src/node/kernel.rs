//! The kernel of the virtual node and of service VMs: Debian's, unchanged, downloaded and unpacked but not installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    command::{command, output, run},
    error::Error,
    paths,
};

/// Depends on the package of the current version.
const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel and its modules.
pub struct Kernel {
    /// The bootable image.
    pub image: PathBuf,
    /// The folder of the modules' tree.
    modules: PathBuf,
}

impl Kernel {
    /// The kernel in the cache, else the current one of the distribution.
    pub fn find_or_download() -> Result<Kernel, Error> {
        let cache = paths::target().join("images");
        fs::create_dir_all(&cache).map_err(Error::io("create", &cache))?;
        for dir in children(&cache)? {
            if dir.join("boot").is_dir() {
                return Kernel::unpacked(&dir);
            }
        }
        let package = current_package()?;
        eprintln!(
            "x: downloading {package} from Debian: the kernel of service VMs and of the virtual node"
        );
        let scratch = tempfile::tempdir_in(&cache).map_err(Error::io("create", &cache))?;
        // Root's downloads are by default made as user _apt, who may not write here.
        let mut download = command("apt-get");
        download.args(["-qq", "-o", "APT::Sandbox::User=root", "download", &package]);
        run(download.current_dir(&scratch))?;
        let tree = scratch.path().join("tree");
        for deb in children(scratch.path())? {
            run(command("dpkg-deb").arg("-x").arg(&deb).arg(&tree))?;
        }
        let dir = cache.join(&package);
        fs::rename(&tree, &dir).map_err(Error::io("write", &dir))?;
        Kernel::unpacked(&dir)
    }

    /// The bytes of a module, by its path below `kernel/`.
    pub fn module(&self, path: &str) -> Result<Vec<u8>, Error> {
        let path = self.modules.join("kernel").join(path);
        fs::read(&path).map_err(Error::io("read", &path))
    }

    fn unpacked(dir: &Path) -> Result<Kernel, Error> {
        let is_image = |path: &PathBuf| path.to_string_lossy().contains("vmlinuz-");
        let image = children(&dir.join("boot"))?.into_iter().find(is_image);
        let modules = children(&dir.join("lib/modules"))?.into_iter().next();
        match (image, modules) {
            (Some(image), Some(modules)) => Ok(Kernel { image, modules }),
            _ => Err(Error::NoKernel(META_PACKAGE)),
        }
    }
}

/// The versioned package behind [`META_PACKAGE`].
fn current_package() -> Result<String, Error> {
    let text = output(command("apt-cache").args(["depends", META_PACKAGE]))?;
    let versioned = |line: &str| {
        line.trim()
            .strip_prefix("Depends: ")
            .filter(|name| name.starts_with("linux-image-"))
            .map(str::to_owned)
    };
    text.lines().find_map(versioned).ok_or(Error::NoKernel(META_PACKAGE))
}

fn children(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let entries = fs::read_dir(dir).map_err(Error::io("read", dir))?;
    entries.map(|entry| entry.map(|e| e.path()).map_err(Error::io("read", dir))).collect()
}
