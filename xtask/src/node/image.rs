//! The virtual node's initramfs: busybox, the kernel modules it needs, `dist/` at `/margay`, the user's files.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::PathBuf};

use super::{Job, kernel::Kernel};

use crate::{
    command::{command, run},
    error::Error,
    paths::{self, is_older},
    rootfs::{self, add},
};

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

/// Packs the file system in which `job` runs.
pub fn build(kernel: &Kernel, job: &Job, marker: &[u8]) -> Result<Vec<u8>, Error> {
    let mut archive = rootfs::skeleton()?;
    add(&mut archive, &paths::root().join("ci/node/init"), "init")?;
    rootfs::modules(&mut archive, kernel, &MODULES)?;
    add(&mut archive, &hold_kvm()?, "bin/hold_kvm")?;
    add(&mut archive, &paths::dist(), "margay")?;
    for (host, guest) in &job.files {
        add(&mut archive, host, guest.trim_matches('/'))?;
    }
    archive.file("run/marker", 0o600, marker);
    archive.file("run/command", 0o644, &script(&job.command));
    Ok(archive.finish())
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
