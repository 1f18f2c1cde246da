//! What is not a program for the LWK: a clear error and a shell's status, before anything starts.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use margay_tests::{Case, Mode, Outcome, program};
use tempfile::TempDir;

/// 127: no such program.
const NOT_FOUND: i32 = 127;
/// 126: found, but cannot be run.
const CANNOT_EXECUTE: i32 = 126;

/// A file with these bytes and permissions.
fn file(bytes: &[u8], mode: u32) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let path = dir.path().join("program");
    fs::write(&path, bytes).expect("a temporary folder can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the file is ours");
    (dir, path)
}

fn run_bytes(bytes: &[u8], mode: u32) -> Outcome {
    let (_dir, path) = file(bytes, mode);
    Case::new(path).run(&Mode::first())
}

/// A good program with one byte of its ELF header changed.
fn with_byte(offset: usize, value: u8) -> Vec<u8> {
    let mut bytes = fs::read(program("args.musl")).expect("the program was built");
    bytes[offset] = value;
    bytes
}

#[test]
fn missing() {
    Case::new("/no/such/program")
        .run(&Mode::first())
        .assert_error(NOT_FOUND, &["/no/such/program"]);
    Case::new("no-such-program")
        .run(&Mode::first())
        .assert_error(NOT_FOUND, &["no-such-program", "PATH"]);
}

#[test]
fn a_folder() {
    Case::new("/tmp").run(&Mode::first()).assert_error(CANNOT_EXECUTE, &["/tmp", "regular file"]);
}

#[test]
fn not_executable() {
    let bytes = fs::read(program("args.musl")).expect("the program was built");
    run_bytes(&bytes, 0o644).assert_error(CANNOT_EXECUTE, &["not executable", "chmod +x"]);
}

#[test]
fn not_elf() {
    run_bytes(b"just text, long enough for a header of sixty-four bytes, it is", 0o755)
        .assert_error(CANNOT_EXECUTE, &["not an ELF"]);
    run_bytes(b"#!/bin/sh\necho hello\n", 0o755).assert_error(CANNOT_EXECUTE, &["interpreter"]);
    run_bytes(b"", 0o755).assert_error(CANNOT_EXECUTE, &["program"]);
}

#[test]
fn wrong_architecture() {
    // e_machine is at byte 18: 183 is AArch64. EI_CLASS is at byte 4: 1 is 32 bits.
    run_bytes(&with_byte(18, 183), 0o755).assert_error(CANNOT_EXECUTE, &["183"]);
    run_bytes(&with_byte(4, 1), 0o755).assert_error(CANNOT_EXECUTE, &["32-bit"]);
}

#[test]
fn truncated() {
    let bytes = fs::read(program("args.musl")).expect("the program was built");
    run_bytes(&bytes[..100], 0o755).assert_error(CANNOT_EXECUTE, &["truncated"]);
}

#[test]
fn dynamic() {
    Case::new(program("args.dynamic"))
        .run(&Mode::first())
        .assert_error(CANNOT_EXECUTE, &["dynamic", "ld-linux-x86-64.so.2", "-static"]);
}
