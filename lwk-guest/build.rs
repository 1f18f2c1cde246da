//! Links the LWK with its linker script, and builds the vDSO that it carries.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let dir = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    println!("cargo::rustc-link-arg-bins=-T{}", dir.join("link.ld").display());
    println!("cargo::rustc-link-arg-bins=--no-dynamic-linker");
    println!("cargo::rustc-link-arg-bins=-no-pie");
    for input in ["link.ld", "vdso/vdso.rs", "vdso/vdso.ld", "../abi/src/time.rs"] {
        println!("cargo::rerun-if-changed={input}");
    }
    build_vdso(&dir, &PathBuf::from(variable("OUT_DIR")).join("vdso.so"));
}

/// Builds the vDSO with the compiler that builds the LWK, but position-independent and as a shared object.
fn build_vdso(dir: &Path, output: &Path) {
    let script = dir.join("vdso/vdso.ld");
    let link_args = [
        "-no-pie",
        "-shared",
        "-soname=linux-vdso.so.1",
        "--hash-style=both",
        "-Bsymbolic",
        "--no-eh-frame-hdr",
        "--build-id=none",
        "-s",
    ];
    let status = Command::new(variable("RUSTC"))
        .arg(dir.join("vdso/vdso.rs"))
        .args(["--edition=2024", "--crate-name=vdso", "--crate-type=bin"])
        .args(["--target", "x86_64-unknown-none"])
        .args(["-Copt-level=3", "-Cpanic=abort", "-Crelocation-model=pic", "-Clto=fat"])
        .args(link_args.map(|arg| format!("-Clink-arg={arg}")))
        .arg(format!("-Clink-arg=-T{}", script.display()))
        .arg("-o")
        .arg(output)
        .status();
    match status {
        Ok(status) if status.success() => {}
        other => panic!("the vDSO does not build: {other:?}"),
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
