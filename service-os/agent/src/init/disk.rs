//! The disk, if the VM has one: its file system becomes the root.

use std::fs;
use std::io;
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::mounts::change_root;
use crate::console::say;

/// The first virtio disk.
const DISK: &str = "vda";
/// Where it is looked at before it is the root. In the initramfs itself, which the new root will hide.
const PLACE: &str = "/mnt";
/// Folders of which a root has one at least.
const OF_A_ROOT: [&str; 3] = ["bin", "usr", "sbin"];

/// Makes the disk's file system, or that of its first partition that has one, the root. Without a disk, or with one that
/// holds no system, the initramfs stays the root.
pub fn take_root() {
    let block = Path::new("/sys/class/block");
    if !block.join(DISK).exists() {
        return;
    }
    let read_only =
        fs::read_to_string(block.join(DISK).join("ro")).is_ok_and(|ro| ro.trim() != "0");
    let taken = candidates(block).and_then(|devices| {
        fs::create_dir_all(PLACE)?;
        devices
            .iter()
            .find_map(|device| try_device(device, read_only))
            .ok_or(io::Error::other("no file system that this kernel knows holds a system"))?;
        change_root(Path::new(PLACE))
    });
    if let Err(error) = taken {
        say(&format!("the disk cannot be the root: {error}"));
    }
}

/// The disk and its partitions, in order.
fn candidates(block: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(block)?.flatten().map(|entry| entry.file_name());
    let mut names: Vec<String> = names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.starts_with(DISK))
        .collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    Ok(names)
}

/// Mounts a device if it holds a system.
fn try_device(name: &str, read_only: bool) -> Option<()> {
    let device = Path::new("/dev").join(name);
    let flags = if read_only { MsFlags::MS_RDONLY } else { MsFlags::empty() };
    let kinds = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    // Those that need no device begin with "nodev".
    for kind in kinds.lines().filter_map(|line| line.strip_prefix('\t')) {
        if mount(Some(&device), PLACE, Some(kind), flags, None::<&str>).is_err() {
            continue;
        }
        if OF_A_ROOT.iter().any(|folder| Path::new(PLACE).join(folder).exists()) {
            return Some(());
        }
        // It was mounted here a moment ago and nobody uses it.
        let _ = umount2(PLACE, MntFlags::empty());
        return None;
    }
    None
}
