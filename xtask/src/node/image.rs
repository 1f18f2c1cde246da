//! The virtual node's initramfs: busybox, the kernel modules it needs, `dist/` at `/margay`, the user's files.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::{Path, PathBuf},
};

use super::{Job, kernel::Kernel};
use margay_initramfs::Archive;

use crate::{
    command::{command, output, run},
    error::Error,
    paths::{self, is_older},
};

/// Statically linked, from Debian's package `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";

/// Modules in the order to load them: first the way out for the command's output, then KVM.
const MODULES: [&str; 9] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "drivers/char/virtio_console.ko",
    "virt/lib/irqbypass.ko",
    "arch/x86/kvm/kvm.ko",
    "arch/x86/kvm/kvm-amd.ko",
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n";
const GROUP: &str = "root:x:0:\nuser:x:1000:\n";

/// Packs the file system in which `job` runs.
pub fn build(kernel: &Kernel, job: &Job, marker: &[u8]) -> Result<Vec<u8>, Error> {
    let mut archive = Archive::default();
    for dir in ["dev", "proc", "sys", "tmp", "root", "home/user", "run"] {
        archive.directory(dir);
    }
    archive.character_device("dev/console", (5, 1));
    add(&mut archive, &paths::root().join("ci/node/init"), "init")?;
    busybox(&mut archive)?;
    archive.file("etc/passwd", 0o644, PASSWD.as_bytes());
    archive.file("etc/group", 0o644, GROUP.as_bytes());
    let mut order = String::new();
    for path in MODULES {
        let name = path.rsplit('/').next().unwrap_or(path);
        archive.file(&format!("lib/modules/{name}"), 0o644, &kernel.module(path)?);
        order.push_str(name);
        order.push('\n');
    }
    archive.file("lib/modules/order", 0o644, order.as_bytes());
    add(&mut archive, &hold_kvm()?, "bin/hold_kvm")?;
    add(&mut archive, &paths::dist(), "margay")?;
    for (host, guest) in &job.files {
        add(&mut archive, host, guest.trim_matches('/'))?;
    }
    archive.file("run/marker", 0o600, marker);
    archive.file("run/command", 0o644, &script(&job.command));
    Ok(archive.finish())
}

/// Adds a file, or a folder with all that is in it.
fn add(archive: &mut Archive, host: &Path, guest: &str) -> Result<(), Error> {
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

/// Busybox and a link for each of its applets.
fn busybox(archive: &mut Archive) -> Result<(), Error> {
    add(archive, BUSYBOX.as_ref(), "bin/busybox")?;
    for applet in output(command(BUSYBOX).arg("--list"))?.split_whitespace() {
        if applet != "busybox" {
            archive.symlink(&format!("bin/{applet}"), "busybox");
        }
    }
    Ok(())
}

/// The helper that `ci/node/init` starts, built if need be.
fn hold_kvm() -> Result<PathBuf, Error> {
    let source = paths::root().join("ci/node/hold_kvm.c");
    let program = paths::target().join("images/hold_kvm");
    if is_older(&program, &source) {
        let mut compile = command("cc");
        compile.args(["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-s", "-o"]);
        run(compile.arg(&program).arg(&source))?;
    }
    Ok(program)
}

/// A shell script that becomes the command, each word exactly as given.
fn script(words: &[impl AsRef<OsStr>]) -> Vec<u8> {
    let mut script = b"exec".to_vec();
    for word in words {
        script.extend_from_slice(b" '");
        for &byte in word.as_ref().as_bytes() {
            match byte {
                b'\'' => script.extend_from_slice(br"'\''"),
                _ => script.push(byte),
            }
        }
        script.push(b'\'');
    }
    script.push(b'\n');
    script
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    #[test]
    fn a_script_keeps_every_word() {
        let words = ["printf", "%s\\n", "a b", "it's", "$HOME `x` \"q\" \\", "", "*"];
        let script = String::from_utf8(super::script(&words)).unwrap();
        let output = Command::new("sh").args(["-c", &script]).output().unwrap();
        let want = words[2..].iter().map(|word| format!("{word}\n")).collect::<String>();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), want);
    }
}
