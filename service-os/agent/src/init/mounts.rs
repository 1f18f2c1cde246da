//! The file systems that every Linux program expects.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use crate::console::say;
use crate::error::AgentError;

/// Type, place, options; in order, for some lie in others.
const MOUNTS: [(&str, &str, &str); 7] = [
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("devtmpfs", "/dev", ""),
    ("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666"),
    ("tmpfs", "/dev/shm", "mode=1777"),
    ("tmpfs", "/tmp", "mode=1777"),
    ("tmpfs", "/run", "mode=755"),
];

/// Links that programs open by name.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Mounts them all.
///
/// # Errors
/// The one that cannot be.
pub fn mount_all() -> Result<(), AgentError> {
    for (kind, at, options) in MOUNTS {
        // Files that the node file puts below /tmp must be seen; the initramfs is as fleeting as what would hide them.
        if kind == "tmpfs" && has_files(at) {
            continue;
        }
        let mounted = fs::create_dir_all(at).and_then(|()| {
            match mount(Some(kind), at, Some(kind), MsFlags::empty(), Some(options)) {
                // By the kernel itself (CONFIG_DEVTMPFS_MOUNT).
                Err(Errno::EBUSY) => Ok(()),
                result => Ok(result?),
            }
        });
        mounted.map_err(|source| AgentError::Mount { kind, at, source })?;
    }
    for (target, link) in LINKS {
        match symlink(target, link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                say(&format!("cannot make {link}: {error}"));
            }
            _ => {}
        }
    }
    // Where everybody may write, none removes another's.
    let _ = fs::set_permissions("/dev/shm", fs::Permissions::from_mode(0o1777));
    Ok(())
}

/// Whether the initramfs has anything in `folder`.
fn has_files(folder: &str) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// Makes `root`, where a file system is mounted, the root; what is mounted here moves there.
///
/// # Errors
/// It has no folders for them, or cannot be the root.
pub fn change_root(root: &Path) -> io::Result<()> {
    let move_to =
        |from: &str, to: &Path| mount(Some(from), to, None::<&str>, MsFlags::MS_MOVE, None::<&str>);
    let tops = || MOUNTS.iter().map(|(_, at, _)| *at).filter(|at| at.matches('/').count() == 1);
    // First see that all can be done.
    for at in tops() {
        let there = root.join(&at[1..]);
        if !there.is_dir() {
            fs::create_dir(&there)
                .map_err(|error| io::Error::other(format!("it has no folder {at}: {error}")))?;
        }
    }
    for at in tops() {
        match move_to(at, &root.join(&at[1..])) {
            // Nothing is mounted there (mount(2)): the new root has its own folder.
            Err(Errno::EINVAL) => {}
            moved => moved?,
        }
    }
    std::env::set_current_dir(root)?;
    move_to(".", Path::new("/"))?;
    nix::unistd::chroot(".")?;
    std::env::set_current_dir("/")
}
