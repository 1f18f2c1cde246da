//! Whole programs: what is on the machine anyway, and what its compilers make. Those that are missing are left out.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::plan;
use super::verify::{Coverage, check};

/// An executable part of a program: `PT_LOAD` with `PF_X`.
struct Segment {
    addr: u64,
    bytes: Vec<u8>,
}

/// The executable segments of an ELF file (gABI: `Elf64_Ehdr`, `Elf64_Phdr`). Empty if it is none.
fn segments(file: &[u8]) -> Vec<Segment> {
    const LOAD_EXECUTABLE: (u64, u64) = (1, 1);
    let field = |at: usize, len: usize| {
        file[at..at + len].iter().rev().fold(0_u64, |value, &byte| value << 8 | u64::from(byte))
    };
    if !file.starts_with(b"\x7fELF\x02\x01") {
        return Vec::new();
    }
    let (table, size, count) = (field(32, 8), field(54, 2), field(56, 2));
    (0..count)
        .map(|index| (table + index * size) as usize)
        .filter(|&at| (field(at, 4), field(at + 4, 4) & 1) == LOAD_EXECUTABLE)
        .map(|at| {
            let (start, len) = (field(at + 8, 8) as usize, field(at + 32, 8) as usize);
            Segment { addr: field(at + 16, 8), bytes: file[start..start + len].to_vec() }
        })
        .collect()
}

/// Plans and checks a program; prints what became of its sites. `None` if it is not there.
fn cover(name: &str, path: &Path) -> Option<Coverage> {
    let file = std::fs::read(path).ok()?;
    let mut last = None;
    for Segment { addr, bytes } in segments(&file) {
        let stubs = (addr + bytes.len() as u64 + 0x1000_0000).next_multiple_of(0x1000);
        let start = std::time::Instant::now();
        let plan = plan(&bytes, addr, stubs, 1 << 20).unwrap();
        let time = start.elapsed();
        let coverage = check(&bytes, addr, stubs, 1 << 20, &plan);
        let kib = bytes.len() >> 10;
        println!("{name}: {kib} KiB in {time:.1?}: {:?}, {coverage:?}", plan.header);
        last = Some(coverage);
    }
    last
}

/// Builds a program; `None` if its compiler is missing or fails.
fn built(command: &mut Command, output: PathBuf) -> Option<PathBuf> {
    let made = command.arg("-o").arg(&output).output().ok()?;
    made.status.success().then_some(output)
}

/// A directory that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("margay-rewrite-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A directory that stays behind in a temporary place is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_libraries_of_this_process() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut paths: Vec<&str> = maps
        .lines()
        .filter(|line| line.contains(" r-xp "))
        .filter_map(|line| line.split_once('/').map(|_| &line[line.find('/').unwrap()..]))
        .collect();
    paths.dedup();
    assert!(!paths.is_empty(), "this program at least");
    for path in paths {
        let coverage = cover(path, Path::new(path)).unwrap_or_default();
        if path.contains("libc.so.6") {
            assert!(coverage.before_one > 100 && coverage.skipped * 20 < coverage.before_one);
        }
    }
}

#[test]
fn static_programs() {
    let scratch = Scratch::new();
    let at = |name: &str| scratch.0.join(name);
    std::fs::write(at("main.c"), "#include <stdio.h>\nint main(void) { puts(\"hi\"); }\n").unwrap();
    std::fs::write(at("main.go"), "package main\nfunc main() { println(\"hi\") }\n").unwrap();
    std::fs::write(at("main.rs"), "fn main() { println!(\"hi\") }\n").unwrap();
    let c = |compiler: &str, name: &str| {
        let mut command = Command::new(compiler);
        built(command.args(["-O2", "-static"]).arg(at("main.c")), at(name))
    };
    let go = || {
        let mut command = Command::new("go");
        command.env("CGO_ENABLED", "0").env("GOCACHE", at("cache")).current_dir(&scratch.0);
        let output = at("go");
        let made = command.args(["build", "-o"]).arg(&output).arg("main.go").output().ok()?;
        made.status.success().then_some(output)
    };
    let rust = || {
        let mut command = Command::new("rustc");
        let target = ["-O", "--target", "x86_64-unknown-linux-musl"];
        built(command.args(target).arg(at("main.rs")), at("rust"))
    };
    let programs = [
        ("busybox", Some(PathBuf::from("/bin/busybox"))),
        ("glibc", c("gcc", "glibc")),
        ("musl", c("musl-gcc", "musl")),
        ("go", go()),
        ("rust", rust()),
    ];
    for (name, path) in programs {
        match path.and_then(|path| cover(name, &path)) {
            None => println!("{name}: not here, left out"),
            Some(coverage) => {
                let Coverage { before_one, before_several, padding, after, skipped } = coverage;
                let patched = before_one + before_several + padding + after;
                assert!(patched > 5 * skipped, "{name}: {coverage:?}");
            }
        }
    }
}
