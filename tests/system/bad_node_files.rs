//! Mistakes in a node file: an error with its line and what to write instead, status 2, for `check` and `run` alike.

use std::process::{Command, Stdio};

use margay_tests::{Mode, NodeFile, Outcome, Running, busybox, margay};

/// A mistake on the command line or in a node file.
const USAGE: i32 = 2;

fn margay_with(args: &[&str], node: &NodeFile, rest: &[&str]) -> Outcome {
    let mut command = Command::new(margay());
    command.args(args).arg(node.path()).args(rest);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::start(&mut command).finish()
}

fn assert_mistake(text: &str, words: &[&str]) {
    let node = NodeFile::from_text(text);
    for (args, rest) in [(&["check"], &[][..]), (&["run"], &["--", "/bin/busybox", "true"])] {
        let outcome = margay_with(args, &node, rest);
        outcome.assert_error(USAGE, words);
        assert!(outcome.stdout.is_empty(), "{outcome:?}");
    }
}

#[test]
fn syntax() {
    assert_mistake("[service]\nkind = \"host\n", &["node.toml:2"]);
    assert_mistake("nonsense", &["node.toml:1"]);
}

#[test]
fn unknown_keys() {
    assert_mistake(
        "[[lwk]]\nmemroy = \"1G\"\n",
        &["node.toml:2", "memroy", "did you mean `memory`"],
    );
    assert_mistake("[servcie]\n\n[[lwk]]\n", &["servcie"]);
}

#[test]
fn wrong_values() {
    assert_mistake("[[lwk]]\nmemory = 5\n", &["memory"]);
    assert_mistake("[[lwk]]\nmemory = \"lots\"\n", &["memory", "512M"]);
    assert_mistake("[[lwk]]\nisolation = \"strong\"\n", &["isolation", "fused", "protected"]);
    assert_mistake("[[lwk]]\ndelegation = \"magic\"\n", &["delegation", "queue", "hypercall"]);
    assert_mistake("[service]\nkind = \"linux\"\n[[lwk]]\n", &["kind", "host", "vm"]);
    assert_mistake("[[lwk]]\nwatch_s = -1\n", &["node.toml:2", "watch_s", "3600"]);
    assert_mistake("[node]\nsocket_mode = \"rw\"\n[[lwk]]\n", &["node.toml:2", "octal"]);
    assert_mistake("[node]\nname = \"a/b\"\n[[lwk]]\n", &["node.toml:2", "name"]);
}

#[test]
fn cores() {
    assert_mistake("[[lwk]]\ncores = [4000]\n", &["4000", "it has the cores"]);
    assert_mistake("[service]\ncores = [0]\n[[lwk]]\ncores = [0]\n", &["core 0", "both"]);
    let twice = "[[lwk]]\nname = \"a\"\ncores = [1]\n[[lwk]]\nname = \"b\"\ncores = [1]\n";
    assert_mistake(twice, &["node.toml:6", "core 1", "LWK a", "LWK b", "oversubscribe"]);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let all = format!("[[lwk]]\ncores = \"0-{}\"\n", cores - 1);
    assert_mistake(&all, &["no core is left for the service OS"]);
    assert_mistake(&"[[lwk]]\n".repeat(cores), &["too few cores", "oversubscribe"]);
}

#[test]
fn names() {
    let twice = "[[lwk]]\nname = \"lwk1\"\n[[lwk]]\n";
    assert_mistake(twice, &["node.toml:3", "\"lwk1\"", "line 2"]);
    assert_mistake("[[lwk]]\nname = \"service\"\n", &["node.toml:2", "service OS"]);
}

#[test]
fn service_vms() {
    assert_mistake("[service]\nkernel = \"k\"\n[[lwk]]\n", &["node.toml:2", "kernel", "vm"]);
    let vm = "[node]\noversubscribe = true\n[service]\nkind = \"vm\"\n";
    // Whatever this host can do, these files are not there.
    let missing = format!("{vm}kernel = \"no-kernel\"\ndisk = \"no-disk\"\n[[lwk]]\n");
    assert_mistake(&missing, &["node.toml:5", "no-kernel", "node.toml:6", "no-disk"]);
    let image = "[[lwk]]\nimage = \"no-image\"\n";
    assert_mistake(image, &["node.toml:2", "no-image", "node file's directory"]);
    let small = format!("{vm}memory = \"64M\"\nkernel = \"/dev/null\"\n[[lwk]]\n");
    assert_mistake(&small, &["node.toml:5", "64 MiB", "not a regular file"]);
    let net = format!("{vm}net = \"lo\"\n[[lwk]]\n");
    assert_mistake(&net, &["node.toml:5", "\"lo\"", "not a tap device"]);
}

#[test]
fn several_lwks_share_two_cores_only_if_told_to() {
    let node =
        "[node]\noversubscribe = true\n[[lwk]]\nmemory = \"64M\"\n[[lwk]]\nmemory = \"64M\"\n";
    let lwks = "[[lwk]]\nmemory = \"32M\"\n".repeat(64);
    for text in [node.to_owned(), format!("[node]\noversubscribe = true\n{lwks}")] {
        let outcome = margay_with(&["check"], &NodeFile::from_text(&text), &[]);
        assert_eq!(outcome.status, 0, "{outcome:?}");
        assert!(outcome.stdout_text().contains("LWK lwk1"), "{outcome:?}");
    }
}

#[test]
fn memory() {
    assert_mistake("[[lwk]]\nmemory = \"900T\"\n", &["900", "available"]);
    let both =
        "[node]\noversubscribe = true\n[[lwk]]\nmemory = \"1/1\"\n[[lwk]]\nmemory = \"64M\"\n";
    assert_mistake(both, &["node.toml:6", "LWK lwk1", "LWK lwk0 has"]);
    assert_mistake("[[lwk]]\nmemory = \"1M\"\n", &["memory"]);
}

#[test]
fn too_little_memory_for_the_program() {
    let node = NodeFile::from_text("[[lwk]]\nmemory = \"16M\"\nstack = \"12M\"\n");
    let busybox = busybox();
    let program = busybox.to_str().expect("the path is ASCII");
    margay_with(&["run"], &node, &["--", program, "true"]).assert_error(USAGE, &["memory"]);
}

#[test]
fn nothing_to_run() {
    margay_with(&["run"], &NodeFile::new(&Mode::first()), &[]).assert_error(USAGE, &["program"]);
}

#[test]
fn no_node_file() {
    let mut command = Command::new(margay());
    command.args(["run", "/no/such/node.toml"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running::start(&mut command).finish().assert_error(USAGE, &["/no/such/node.toml"]);
}

#[test]
fn a_good_one_is_drawn() {
    let outcome = margay_with(&["check"], &NodeFile::new(&Mode::first()), &[]);
    assert_eq!(outcome.status, 0, "{outcome:?}");
    assert!(outcome.stdout_text().contains("64 MiB"), "{outcome:?}");
}
