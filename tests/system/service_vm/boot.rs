//! A service VM that cannot come up: why, with its console's last lines where it has any; and nothing is left.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use margay_tests::{Nodes, Outcome, margay};

use super::{FAILED, USAGE, node};

/// Tries to have a node up that cannot be.
fn fails(nodes: &Nodes, service: &str, status: i32, words: &[&str]) -> Outcome {
    let outcome = nodes.try_up("node", &node(service));
    outcome.assert_error(status, words);
    nodes.assert_nothing_left();
    outcome
}

#[test]
fn kernels_that_are_none() {
    let nodes = Nodes::none();
    fails(&nodes, "kernel = \"missing\"", USAGE, &["node.toml:5", "missing", "No such file"]);
    nodes.file(
        "text",
        b"this is no kernel, whatever its name may be, and it is long enough for a header",
    );
    fails(&nodes, "kernel = \"text\"", FAILED, &["text is not a kernel"]);
    nodes.file("empty", b"");
    fails(&nodes, "kernel = \"empty\"", FAILED, &["empty"]);
    // An ELF header (System V ABI, chapter 4) of a 64-bit program for AArch64, EM_AARCH64 = 183.
    let mut elf = [0_u8; 4096];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (elf[16], elf[18], elf[20]) = (2, 183, 1);
    nodes.file("arm", &elf);
    fails(&nodes, "kernel = \"arm\"", FAILED, &["arm is a kernel for", "x86-64"]);
    // A good kernel's first half.
    let kernel = fs::read(service("vmlinuz")).expect("the service OS was built");
    nodes.file("half", &kernel[..kernel.len() / 2]);
    fails(&nodes, "kernel = \"half\"", FAILED, &["half", "is the file whole", "bytes"]);
}

/// A file of Margay's own service OS.
fn service(name: &str) -> PathBuf {
    margay().with_file_name("service").join(name)
}

#[test]
fn initramfs_that_is_none() {
    let nodes = Nodes::none();
    let panicked = fails(&nodes, "initramfs = []", FAILED, &["console", "Kernel panic", "root fs"]);
    assert!(!panicked.stderr_text().contains('\r'), "{panicked:?}");
    let big = File::create(nodes.file("big", b"")).expect("the folder is ours");
    big.set_len(520 << 20).expect("a file may have holes");
    fails(&nodes, "initramfs = \"big\"", FAILED, &["initramfs", "520 MiB", "more memory"]);
    // Comes up, but has no agent; says so on its console.
    nodes.file("init", b"#!/bin/sh\necho this init only sleeps\nexec sleep 1000\n");
    let pack = nodes.shell(
        "mkdir -p tree/bin tree/dev && cp /bin/busybox tree/bin/sh && ln -s sh tree/bin/sleep && cp init tree/ \
         && chmod 755 tree/init tree/bin/sh && cd tree && find . | cpio -o -H newc > ../deaf",
    );
    assert_eq!(pack.status, 0, "{pack:?}");
    let words = ["20 s", "its agent does not answer", "this init only sleeps", "boot_s"];
    fails(&nodes, "initramfs = \"deaf\"\nboot_s = 20", FAILED, &words);
}

#[test]
fn devices_that_cannot_be_had() {
    let nodes = Nodes::none();
    let path = nodes.file("disk", &[0; 1 << 20]);
    let held = File::open(&path).expect("it was written just now");
    held.lock_shared().expect("nobody else has it");
    fails(&nodes, "disk = \"disk\"", FAILED, &["disk", "locked", "another guest"]);
    drop(held);
    fails(&nodes, "disk = \"none\"", USAGE, &["node.toml:5", "none"]);
    fails(&nodes, "net = \"tap77\"", USAGE, &["node.toml:5", "tap77", "no such network device"]);
    fails(&nodes, "files = [\"/no/such/file\"]", USAGE, &["node.toml:5", "/no/such/file"]);
}
