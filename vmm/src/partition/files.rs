//! Which files a node needs besides its programs, and whether they can be used.
//!
//! The list is made from the node file alone; [`Wanted::fault`] looks at the file system. What it finds becomes part of the
//! host's [`Resources`](crate::partition::Resources), so that resolving stays a pure function.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::{NodeConfig, ServiceChoice, ServiceVmConfig, Span};

/// Margay's own service OS, below the directory of the margay executable.
const KERNEL: &str = "service/vmlinuz";
/// Its initramfs, which has the agent.
const INITRAMFS: &str = "service/initramfs";

/// What a file is to be good for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FileUse {
    /// A regular file, to be read.
    Read,
    /// A regular file or a block device, to be read.
    Disk,
    /// A regular file or a block device, to be read and written.
    WritableDisk,
}

/// A file that the node needs.
pub(super) struct Wanted {
    /// The key of the node file.
    pub(super) key: &'static str,
    /// Where it is.
    pub(super) path: PathBuf,
    /// What for.
    pub(super) file_use: FileUse,
    /// Where the node file names it, or says what needs it.
    pub(super) span: Option<Span>,
    /// Whether it is Margay's own, which the node file does not name.
    pub(super) own: bool,
}

impl Wanted {
    /// All of a node's files. `install` is the directory of the margay executable.
    pub(super) fn all(node: &NodeConfig, install: &Path) -> Vec<Wanted> {
        let named = |key, path: &Path, span: &Option<Span>| Wanted {
            key,
            path: node.locate(path),
            file_use: FileUse::Read,
            span: span.clone(),
            own: false,
        };
        let mut wanted = Vec::new();
        if let ServiceChoice::Vm(vm) = &node.service.kind {
            let own = |key, path| Wanted {
                path,
                span: Some(vm.kind.clone()),
                own: true,
                ..named(key, Path::new(""), &None)
            };
            let named_kernel = vm.kernel.as_ref().map(|at| named("kernel", &at.value, &at.span));
            wanted.push(named_kernel.unwrap_or_else(|| own("kernel", kernel(node, vm, install))));
            match &vm.initramfs {
                Some(list) => {
                    wanted.extend(list.iter().map(|at| named("initramfs", &at.value, &at.span)));
                }
                None => wanted.extend(
                    initramfs(node, vm, install).into_iter().map(|path| own("initramfs", path)),
                ),
            }
            wanted.extend(vm.disk.iter().map(|disk| Wanted {
                file_use: match disk.value.read_only {
                    true => FileUse::Disk,
                    false => FileUse::WritableDisk,
                },
                ..named("disk", &disk.value.path, &disk.span)
            }));
            wanted.extend(vm.files.iter().map(|at| named("files", &at.value, &at.span)));
        }
        let images = node.lwks.iter().filter_map(|lwk| lwk.image.as_ref());
        wanted.extend(images.map(|at| named("image", &at.value, &at.span)));
        wanted
    }

    /// Why the file cannot be used; `None` where it can.
    pub(super) fn fault(&self) -> Option<String> {
        usable(&self.path, self.file_use).err().map(|error| error.to_string())
    }
}

/// The service VM's kernel.
pub(super) fn kernel(node: &NodeConfig, vm: &ServiceVmConfig, install: &Path) -> PathBuf {
    match &vm.kernel {
        Some(kernel) => node.locate(&kernel.value),
        None => install.join(KERNEL),
    }
}

/// Margay's own kernel and initramfs.
pub(super) fn own_service_os(install: &Path) -> (PathBuf, PathBuf) {
    (install.join(KERNEL), install.join(INITRAMFS))
}

/// The service VM's initramfs in the order of unpacking. Margay's own goes with Margay's own kernel only: its modules are
/// that kernel's, and what is started instead may be no Linux.
pub(super) fn initramfs(node: &NodeConfig, vm: &ServiceVmConfig, install: &Path) -> Vec<PathBuf> {
    match (&vm.initramfs, &vm.kernel) {
        (Some(list), _) => list.iter().map(|at| node.locate(&at.value)).collect(),
        (None, Some(_)) => Vec::new(),
        (None, None) => vec![install.join(INITRAMFS)],
    }
}

/// Tries a file by opening it. Its type comes first: opening a named pipe would wait, and some devices do things.
fn usable(path: &Path, file_use: FileUse) -> io::Result<()> {
    let kind = fs::metadata(path)?.file_type();
    let (suits, wanted) = match file_use {
        FileUse::Read => (kind.is_file(), "it is not a regular file"),
        FileUse::Disk | FileUse::WritableDisk => (
            kind.is_file() || kind.is_block_device(),
            "it is neither a regular file nor a block device",
        ),
    };
    if !suits {
        return Err(io::Error::other(wanted));
    }
    let write = file_use == FileUse::WritableDisk;
    OpenOptions::new().read(true).write(write).custom_flags(libc::O_NONBLOCK).open(path)?;
    Ok(())
}

/// Why a network device cannot be a service VM's; `None` where it can. What Linux says about it is below `class`, which is
/// `/sys/class/net` but in tests.
pub(super) fn tap_fault(class: &Path, net: &str) -> Option<String> {
    const IFF_TAP: u32 = libc::IFF_TAP as u32;
    let device = class.join(net);
    if !device.exists() {
        return Some("there is no such network device".to_owned());
    }
    let flags = fs::read_to_string(device.join("tun_flags")).unwrap_or_default();
    let flags = flags.trim().trim_start_matches("0x");
    match u32::from_str_radix(flags, 16) {
        Ok(flags) if flags & IFF_TAP != 0 => None,
        _ => Some("it is not a tap device".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{FileUse, tap_fault, usable};

    #[test]
    fn files_are_tried() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("disk");
        assert!(usable(&file, FileUse::Read).unwrap_err().to_string().contains("No such file"));
        fs::write(&file, "content").unwrap();
        for file_use in [FileUse::Read, FileUse::Disk, FileUse::WritableDisk] {
            usable(&file, file_use).unwrap();
            let error = usable(dir.path(), file_use).unwrap_err().to_string();
            assert!(error.contains("regular file"), "{error}");
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "content", "trying changes nothing");
        assert!(usable("/dev/null".as_ref(), FileUse::Disk).is_err());
    }

    #[test]
    fn a_tap_device_is_known_by_its_flags() {
        let class = tempfile::tempdir().unwrap();
        for (net, flags) in [("tap0", "0x1002\n"), ("tun0", "0x1001\n"), ("odd", "x")] {
            fs::create_dir(class.path().join(net)).unwrap();
            fs::write(class.path().join(net).join("tun_flags"), flags).unwrap();
        }
        fs::create_dir(class.path().join("eth0")).unwrap();
        let fault = |net| tap_fault(class.path(), net);
        assert_eq!(fault("tap0"), None);
        assert_eq!(fault("tap1").unwrap(), "there is no such network device");
        for net in ["tun0", "odd", "eth0"] {
            assert_eq!(fault(net).unwrap(), "it is not a tap device", "{net}");
        }
    }
}
