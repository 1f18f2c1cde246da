//! A host whose KVM cannot be used: the error says what is missing and what to do, and nothing starts.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::Command,
};

use margay_tests::{KvmDevice, Mode, NodeFile, busybox, margay, with_kvm_device};

/// A mistake in what the user asks of this host, as `margay --help` has it.
const USAGE: i32 = 2;

fn run_fails_with(mut command: Command, words: &[&str]) {
    let node = NodeFile::new(&Mode::first());
    // A place that another user can read.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = folder.path().join("node.toml");
    fs::copy(node.path(), &file).unwrap();

    let output =
        command.arg("run").arg(&file).arg("--").arg(busybox()).arg("true").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(USAGE), "{text}");
    for word in words.iter().chain(&["help:"]) {
        assert!(text.contains(word), "no \"{word}\" in: {text}");
    }
}

#[test]
fn no_device() {
    let mut command = Command::new(margay());
    with_kvm_device(&mut command, KvmDevice::Missing);
    run_fails_with(command, &["there is no /dev/kvm"]);
}

#[test]
fn another_device() {
    let mut command = Command::new(margay());
    with_kvm_device(&mut command, KvmDevice::Other);
    run_fails_with(command, &["API version"]);
}

#[test]
fn no_permission() {
    const NOBODY: u32 = 65_534;
    // The command may lie where another user cannot read.
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = folder.path().join("margay");
    fs::copy(margay(), &copy).unwrap();
    let mut command = Command::new(copy);
    command.uid(NOBODY).gid(NOBODY).current_dir("/");
    run_fails_with(command, &["no permission to open /dev/kvm"]);
}
