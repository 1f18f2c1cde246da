//! What the initramfs of the virtual node and that of a service VM have in common: busybox and a skeleton around it.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use margay_initramfs::Archive;

use crate::{
    command::{command, output},
    error::Error,
    node::kernel::Kernel,
};

/// Statically linked, from Debian's package `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";

const FOLDERS: [&str; 8] = ["dev", "proc", "sys", "tmp", "root", "home/user", "run", "mnt"];
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nuser:x:1000:\n";

/// Folders, console, accounts, and busybox with a link for each of its applets.
pub fn skeleton() -> Result<Archive, Error> {
    let mut archive = Archive::default();
    FOLDERS.iter().for_each(|folder| archive.directory(folder));
    archive.character_device("dev/console", (5, 1));
    archive.file("etc/passwd", 0o644, PASSWD.as_bytes());
    archive.file("etc/group", 0o644, GROUP.as_bytes());
    add(&mut archive, BUSYBOX.as_ref(), "bin/busybox")?;
    for applet in output(command(BUSYBOX).arg("--list"))?.split_whitespace() {
        if applet != "busybox" {
            archive.symlink(&format!("bin/{applet}"), "busybox");
        }
    }
    Ok(archive)
}

/// Adds modules, by their paths below `kernel/`, and a list of their names in the order to load them: `lib/modules/order`.
pub fn modules(archive: &mut Archive, kernel: &Kernel, paths: &[&str]) -> Result<(), Error> {
    let mut order = String::new();
    for path in paths {
        let name = path.rsplit('/').next().unwrap_or(path);
        archive.file(&format!("lib/modules/{name}"), 0o644, &kernel.module(path)?);
        order.push_str(name);
        order.push('\n');
    }
    archive.file("lib/modules/order", 0o644, order.as_bytes());
    Ok(())
}

/// Adds a file, or a folder with all that is in it.
pub fn add(archive: &mut Archive, host: &Path, guest: &str) -> Result<(), Error> {
    let metadata = fs::metadata(host).map_err(Error::io("read", host))?;
    if !metadata.is_dir() {
        let data = fs::read(host).map_err(Error::io("read", host))?;
        archive.file(guest, metadata.permissions().mode() & 0o777, &data);
        return Ok(());
    }
    archive.directory(guest);
    for entry in fs::read_dir(host).map_err(Error::io("read", host))? {
        let entry = entry.map_err(Error::io("read", host))?;
        let name = entry.file_name();
        add(archive, &entry.path(), &format!("{guest}/{}", name.to_string_lossy()))?;
    }
    Ok(())
}
