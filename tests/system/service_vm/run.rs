//! `margay run` with a service VM, and with a plain Linux guest in an LWK's place.

use margay_tests::{Nodes, Outcome, busybox, margay, program};

use super::{assert_prints, node};

/// Runs `margay run` with a node file, further words, and something on stdin.
fn run(nodes: &Nodes, text: &str, words: &[&str], stdin: &str) -> Outcome {
    let file = nodes.file("node.toml", text.as_bytes());
    let mut command = nodes.command(margay());
    let mut running = nodes.start_command(command.arg("run").arg(file).args(words));
    running.write_and_close(stdin.into());
    let outcome = running.finish();
    nodes.assert_nothing_left();
    outcome
}

#[test]
fn every_program_of_the_file() {
    let nodes = Nodes::none();
    let script =
        |text: &str| format!("program = {:?}\nargs = [\"sh\", \"-c\", \"{text}\"]\n", busybox());
    // Each waits for the other, so both run at the same time; and both on the service VM, where they meet.
    let meet = |own: &str, other: &str| {
        script(&format!(
            "echo > /tmp/{own}; while [ ! -e /tmp/{other} ]; do :; done; read a < /proc/sys/kernel/hostname; echo {own} $a"
        ))
    };
    let (left, right) = (meet("left", "right"), meet("right", "left"));
    let text = node("")
        .replace("name = \"right\"\n", &format!("name = \"right\"\n{right}"))
        .replace("name = \"left\"\n", &format!("name = \"left\"\n{left}"));
    let outcome = run(&nodes, &text, &[], "");
    let text = outcome.stdout_text();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        (outcome.status, &lines[..]),
        (0, &["left service", "right service"][..]),
        "{outcome:?}"
    );
}

#[test]
fn one_program() {
    let nodes = Nodes::none();
    let words =
        ["--lwk", "right", "--", "/bin/busybox", "sh", "-c", "read line; echo got $line; exit 5"];
    let outcome = run(&nodes, &node(""), &words, "a line\n");
    assert_eq!((outcome.status, &*outcome.stdout_text()), (5, "got a line\n"), "{outcome:?}");
    let missing = run(&nodes, &node(""), &["--", "/no/such/program"], "");
    missing.assert_error(127, &["/no/such/program"]);
}

/// The same binary in a stock Linux guest with the LWK's core and memory.
#[test]
fn a_linux_guest_as_peer() {
    let nodes = Nodes::none();
    let script = "nproc; read kib < /proc/meminfo; echo $kib; read line; echo got $line; exit 3";
    let words = ["--linux", "--lwk", "left", "--", "/bin/busybox", "sh", "-c", script];
    let outcome = run(&nodes, &node(""), &words, "a line\n");
    let text = outcome.stdout_text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        (outcome.status, lines.len(), lines[0], lines[2]),
        (3, 3, "1", "got a line"),
        "{outcome:?}"
    );
    let kib = lines[1].split_whitespace().nth(1).and_then(|kib| kib.parse::<u32>().ok());
    // 128 MiB, less what the kernel itself takes.
    assert!(kib.is_some_and(|kib| (64 << 10..128 << 10).contains(&kib)), "{outcome:?}");
    let floats = program("floats.glibc");
    let here = nodes.run_command(&mut nodes.command(&floats));
    let there = run(&nodes, &node(""), &["--linux", "--", &floats.display().to_string()], "");
    assert_prints(&there, &here.stdout_text());
}
