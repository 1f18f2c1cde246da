//! Debian's busybox, unmodified: the applets that need no fork.

use std::{fs, io::Write};

use margay_tests::{Case, Mode, place};

#[test]
fn echo() {
    Case::busybox("echo Hello from the lightweight kernel").assert_same_as_host();
}

#[test]
fn true_and_false() {
    Case::busybox("true").assert_same_as_host();
    Case::busybox("false").assert_same_as_host();
}

#[test]
fn cat_of_stdin_and_files() {
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    Case::busybox("cat").stdin(bytes.clone()).assert_same_as_host();
    Case::busybox("cat a - a missing").file("a", bytes).stdin("between").assert_same_as_host();
}

#[test]
fn ls_of_a_big_tree() {
    Case::busybox("ls -lR /usr/share/doc").assert_same_as_host();
}

#[test]
fn find_in_a_big_tree() {
    Case::busybox("find /usr/share/doc -name *a*e* -type f").assert_same_as_host();
}

#[test]
fn checksums_of_a_big_file() {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let path = dir.path().join("big");
    let mut file = fs::File::create(&path).expect("a temporary folder can be written");
    let block: Vec<u8> =
        (0..1_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for _ in 0..place().big_file_bytes() >> 20 {
        file.write_all(&block).expect("there is room for the big file");
    }
    Case::busybox(&format!("md5sum {}", path.display())).assert_same_as_host();
    let sha256sum = Case::busybox(&format!("sha256sum {}", path.display()));
    sha256sum.assert_same_as_host_in(&[Mode::first()]);
}

#[test]
fn dd_copies() {
    let bytes: Vec<u8> = (0..700_001_u32).map(|i| (i >> 3) as u8).collect();
    // Without the line that has the speed.
    let line = "dd if=in of=out bs=4096 skip=3 seek=2 status=none";
    Case::busybox(line).file("in", bytes).assert_same_as_host();
}

#[test]
fn awk_computes() {
    let text: String = (1..5000).map(|i| format!("{i} {} word{}\n", i * 37 % 101, i % 7)).collect();
    let program = "{ s += $1 * $2; n[$3]++ } END { printf \"%.6f %d\\n\", s / NR, n[\"word3\"]; print sqrt(2) }";
    Case::busybox("awk").args([program]).stdin(text).assert_same_as_host();
}

#[test]
fn sort_of_many_lines() {
    let mut number = 1_u64;
    let lines: String = (0..place().lines_to_sort())
        .map(|_| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            format!("{:012}\n", number >> 24)
        })
        .collect();
    Case::busybox("sort in")
        .memory(place().memory_to_sort())
        .file("in", lines)
        .assert_same_as_host();
}

#[test]
fn applets_that_look_at_files() {
    let text = "the quick\nbrown fox\n\njumps over\n";
    let lines = [
        "wc in",
        "grep -n o in",
        "sed s/o/0/g in",
        "tr a-z A-Z",
        "od -c in",
        "head -n 2 in",
        "tail -c 5 in",
        "cut -c 2-4 in",
        "uniq -c in",
        "stat -c %s-%a-%F in",
        "cp in copy",
        "mv in moved",
        "rm in",
        "mkdir -p a/b/c",
        "ln -s in link",
        "touch new",
        "chmod 600 in",
        "expr 6 * 7",
        "seq 5",
        "printf %s-%d\\n a 7",
        "basename /a/b",
        "base64 in",
        "cmp in in",
        "date -u -d @0",
        "vi --help",
        "nosuchapplet",
        "cat nosuchfile",
        "pwd",
        "id",
        "uname -m",
        "test -f in",
        "gzip in",
        "tar -cf out.tar in",
    ];
    // Each in one mode, in turn: here the programs are many, not the ways to run them.
    let modes = Mode::all();
    for (line, mode) in lines.iter().zip(modes.iter().cycle()) {
        let case = Case::busybox(line).file("in", text).stdin(text);
        case.assert_same_as_host_in(std::slice::from_ref(mode));
    }
}
