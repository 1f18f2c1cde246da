//! A node comes up, says what it is at, runs programs, and goes without a trace.

use margay_tests::{Mode, NodeFile, Nodes, busybox, place, program};

use super::{USAGE, assert_prints, one};

#[test]
fn from_up_to_down() {
    for mode in Mode::all() {
        let nodes = one(&mode);
        assert_eq!(nodes.runtime_files(), ["node.err", "node.lock", "node.sock"]);
        let ps = nodes.run(["ps"]);
        let text = ps.stdout_text();
        let line = text.lines().find(|line| line.starts_with("lwk0")).unwrap_or_default();
        assert!(line.contains("READY") && line.contains("64 MiB"), "{mode}: {ps:?}");
        assert!(text.contains("node node:") && text.contains("host"), "{mode}: {ps:?}");

        let fresh = nodes.lwk("lwk0");
        assert_eq!((&fresh["state"], &fresh["boots"]), (&"ready".into(), &1.into()), "{fresh}");
        assert_prints(&nodes.exec("lwk0", busybox(), &["echo", "hello"]), "hello\n");
        let used = nodes.wait_for_state("lwk0", "ready");
        assert_eq!(used["boots"], 2, "a program gets a kernel of its own: {used}");
        assert_eq!(used["memory"], 64 << 20, "{used}");
        nodes.down();
    }
}

#[test]
fn without_a_node() {
    let nodes = Nodes::none();
    let commands: [&[&str]; 8] = [
        &["ps"],
        &["stat"],
        &["stat", "--calls", "lwk0"],
        &["log", "lwk0"],
        &["restart", "lwk0"],
        &["stop", "lwk0"],
        &["down"],
        &["exec", "--", "/bin/busybox", "true"],
    ];
    for command in commands {
        nodes.run(command).assert_error(USAGE, &["no node is up", "margay up"]);
        let named = [&command[..1], &["--node", "other"], &command[1..]].concat();
        nodes.run(named).assert_error(USAGE, &["no node other is up"]);
    }
    nodes.assert_nothing_left();
}

#[test]
fn several_nodes() {
    let nodes = Nodes::none();
    let text = NodeFile::text(&Mode::first(), &[("lwk0", "")]);
    nodes.up("red", &text);
    nodes.up("green", &text);
    nodes.run(["ps"]).assert_error(USAGE, &["green, red", "--node"]);
    nodes.run(["down"]).assert_error(USAGE, &["green, red", "--node"]);
    nodes.run(["ps", "--node", "blue"]).assert_error(USAGE, &["no node blue", "green, red"]);
    for name in ["red", "green"] {
        let ps = nodes.run(["ps", "--node", name]);
        assert!(ps.stdout_text().contains(&format!("node {name}:")), "{ps:?}");
    }
    let program = program("waiting.musl");
    let program = program.to_str().expect("its path is text");
    let running = nodes.start(["exec", "--node", "green", "--", program, "read"]);
    running.wait_for("ready");
    assert_eq!(nodes.run(["down", "--node", "red"]).status, 0);
    // One is left, which needs no name, and has not noticed.
    assert_eq!(nodes.state("lwk0"), "running");
    let outcome = finish(running, b"four");
    assert_eq!(outcome, "ready\nread 4 bytes, then the end\n");
    nodes.down();
}

fn finish(mut running: margay_tests::Running, stdin: &[u8]) -> String {
    running.write_and_close(stdin.to_vec());
    running.finish().stdout_text()
}

#[test]
fn a_name_in_the_file() {
    let text = NodeFile::text(&Mode::first(), &[("lwk0", "")]);
    let nodes = Nodes::with(&text.replace("[node]\n", "[node]\nname = \"named\"\n"));
    assert_eq!(nodes.status()["name"], "named");
    assert_eq!(nodes.runtime_files(), ["named.err", "named.lock", "named.sock"]);
    nodes.down();
}

#[test]
fn in_the_foreground_until_a_signal() {
    let nodes = Nodes::none();
    let text = NodeFile::text(&Mode::first(), &[("lwk0", "")]);
    let file = nodes.file("node.toml", text.as_bytes());
    let node = nodes.start(["up", "--foreground", file.to_str().expect("its path is text")]);
    node.wait_for_error("node node is up");
    assert_eq!(nodes.pid(), node.pid());
    let running = super::waiting(&nodes, "lwk0", "spin");
    node.signal(margay_tests::Signal::Terminate);
    running.finish().assert_error(super::FAILED, &["taken down by a signal"]);
    assert_eq!(node.finish().status, 0);
    nodes.assert_nothing_left();
}

#[test]
fn many_programs_one_after_another() {
    for mode in Mode::all_natively() {
        let nodes = one(&mode);
        let times = place().times(40);
        let script = format!(
            "i=0; while [ $i -lt {times} ]; do\n\
             \"$MARGAY\" exec --lwk lwk0 -- {} echo $i || exit; i=$((i + 1)); done",
            busybox().display()
        );
        let want: String = (0..times).map(|i| format!("{i}\n")).collect();
        assert_prints(&nodes.shell(&script), &want);
        assert_eq!(nodes.wait_for_state("lwk0", "ready")["boots"], times + 1, "{mode}");
        nodes.down();
    }
}
