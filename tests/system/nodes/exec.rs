//! `margay exec`: the program has all that its caller gave it.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use margay_tests::{Mode, NodeFile, Nodes, Outcome, Running, busybox, margay, program};

use super::{FAILED, USAGE, assert_prints, one, waiting};

/// Arguments that a shell, or JSON, could spoil.
const ODD: [&[u8]; 5] = [b"", b"two words", b"\xff\xfe\x80", b"new\nline \"'\\ $HOME *", b"--"];

#[test]
fn arguments_environment_and_cwd_arrive() {
    for mode in Mode::all_natively() {
        let nodes = one(&mode);
        let program = program("args.musl");
        let odd: Vec<&OsStr> = ODD.iter().map(|bytes| OsStr::from_bytes(bytes)).collect();
        let cwd = tempfile::tempdir().unwrap();
        let run = |command: &str, before: &[&OsStr]| -> Outcome {
            let mut command = nodes.command(command);
            command.args(before).args(&odd).current_dir(&cwd).env("A", "b c=d").env("EMPTY", "");
            command.env("ODD", OsStr::from_bytes(b"\x01\xff\n"));
            nodes.run_command(&mut command)
        };
        let host = run(program.to_str().unwrap(), &[]);
        let margay = margay();
        let exec = ["exec", "--lwk", "lwk0", "--", program.to_str().unwrap()].map(OsStr::new);
        let lwk = run(margay.to_str().unwrap(), &exec);
        assert!(host == lwk, "{mode}: host {host:?}\nLWK {lwk:?}");
        assert_eq!(host.status, ODD.len() as i32);
        nodes.down();
    }
}

#[test]
fn streams_and_status() {
    for mode in Mode::all_natively() {
        let nodes = one(&mode);
        let bytes: Vec<u8> = (0..1_500_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        let mut cat = nodes.start_exec("lwk0", busybox(), &["cat", "-", "/no/such/file"]);
        cat.write_and_close(bytes.clone());
        let outcome = cat.finish();
        assert!(outcome.stdout == bytes, "{mode}: {} bytes", outcome.stdout.len());
        outcome.assert_error(1, &["/no/such/file"]);
        nodes.down();
    }
}

#[test]
fn the_node_files_program() {
    let program = format!(
        "program = {:?}\nargs = [\"sh\", \"-c\", \"echo $A; echo $HOME; exit 3\"]\n",
        busybox()
    );
    let first = program + "env = { A = \"x y=z\", HOME = \"/elsewhere\" }\n";
    let nodes = Nodes::with(&NodeFile::text(
        &Mode::first(),
        &[("a", &first), ("b", "env = { A = \"from b\" }")],
    ));
    let outcome = nodes.run(["exec"]);
    assert_eq!((outcome.status, &*outcome.stdout_text()), (3, "x y=z\n/elsewhere\n"));
    // The file's variables are for every program in that LWK.
    assert_prints(&nodes.exec("b", busybox(), &["sh", "-c", "echo $A $HOME"]), "from b /\n");
    nodes.run(["exec", "--lwk", "b"]).assert_error(USAGE, &["b names no program", "margay exec"]);
    nodes.wait_for_state("a", "ready");
    nodes.down();
}

#[test]
fn what_cannot_run_costs_the_lwk_nothing() {
    let nodes = one(&Mode::first());
    let boots = nodes.lwk("lwk0")["boots"].clone();
    nodes.exec("lwk0", "/no/such/program", &[]).assert_error(127, &["/no/such/program"]);
    nodes.exec("lwk0", "/", &[]).assert_error(126, &["regular file"]);
    nodes.exec("lwk0", program("args.dynamic"), &[]).assert_error(126, &["dynamic", "-static"]);
    assert_eq!(nodes.wait_for_state("lwk0", "ready")["boots"], boots);
    nodes.exec("lwk1", busybox(), &["true"]).assert_error(USAGE, &["no LWK lwk1", "lwk0"]);
    assert_prints(&nodes.exec("lwk0", busybox(), &["echo", "still"]), "still\n");
    nodes.down();
}

#[test]
fn a_busy_lwk_says_with_what() {
    let nodes = super::two(&Mode::first());
    let first = waiting(&nodes, "a", "read");
    let ps = nodes.lwk("a");
    assert_eq!((&ps["state"], &ps["pid"]), (&"running".into(), &first.pid().into()), "{ps}");
    assert!(ps["command"].as_str().is_some_and(|c| c.ends_with("waiting.musl read")), "{ps}");
    let pid = first.pid().to_string();
    let busy = ["a is busy", "waiting.musl read", &pid, "margay restart a"];
    nodes.exec("a", busybox(), &["true"]).assert_error(FAILED, &busy);

    // Without a name it is the first that is ready.
    let path = program("waiting.musl");
    let second =
        nodes.start([OsStr::new("exec"), OsStr::new("--"), path.as_os_str(), OsStr::new("read")]);
    second.wait_for("ready");
    assert_eq!(nodes.lwk("b")["pid"], second.pid());
    nodes
        .run(["exec", "--", "/bin/busybox", "true"])
        .assert_error(FAILED, &["no LWK is ready", "a is busy", "b is busy"]);
    for running in [first, second] {
        assert_eq!(read_to_end(running), "ready\nread 0 bytes, then the end\n");
    }
    nodes.down();
}

fn read_to_end(mut running: Running) -> String {
    running.write_and_close(Vec::new());
    running.finish().stdout_text()
}

#[test]
fn it_is_the_process_that_its_caller_started() {
    for mode in Mode::all_natively() {
        let nodes = one(&mode);
        let outcome = nodes.shell(
            "echo $$ $PPID; exec \"$MARGAY\" exec --lwk lwk0 -- /bin/busybox sh -c 'echo $$ $PPID'",
        );
        let text = outcome.stdout_text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 2 && lines[0] == lines[1], "{mode}: {outcome:?}");
        nodes.down();
    }
}

#[test]
fn margays_descriptors_are_out_of_the_way() {
    /// The number of none that a program opens before it has opened many.
    const MANY: u32 = 100;
    let nodes = one(&Mode::first());
    let text = nodes.exec("lwk0", busybox(), &["ls", "-l", "/proc/self/fd"]).stdout_text();
    let mut seen = 0;
    for line in text.lines() {
        let Some((before, target)) = line.split_once(" -> ") else { continue };
        let number = before.rsplit(' ').next().and_then(|number| number.parse().ok());
        let number: u32 = number.unwrap_or_else(|| panic!("no number: {text}"));
        let ours = target.contains("memfd") || target.contains("eventfd");
        assert!(!ours || number > MANY, "{text}");
        seen += u32::from(ours);
    }
    assert!(seen >= 3, "memory and two doorbells: {text}");
    nodes.down();
}

#[test]
fn a_long_command_is_shown_on_one_line() {
    let nodes = one(&Mode::first());
    let long = "long ".repeat(100);
    let words = ["sh", "-c", "read line", "\x1b[2J\n", &long];
    let mut shell = nodes.start_exec("lwk0", busybox(), &words);
    let lwk = nodes.wait_for_state("lwk0", "running");
    let command = lwk["command"].as_str().unwrap_or_default();
    assert!(!command.contains(char::is_control) && command.ends_with("..."), "{lwk}");
    shell.write_and_close(Vec::new());
    shell.finish();
    nodes.down();
}
