//! A node's life from `up` to `down`: programs in its LWKs behave as on the host, but on another Linux.

use std::fs;

use margay_tests::{Nodes, Outcome, Signal, busybox, margay, place, program};

use super::{
    LWKS, all_processors, assert_both_serve, assert_prints, exec_service, files, hostile, node,
    waiting,
};

/// Programs that say themselves what they find, and find the same on every Linux.
const SAME: [&str; 6] =
    ["memory.glibc", "files.musl", "syscalls.pie", "efault.glibc", "floats.musl", "args.glibc"];
const OTHERS: [&str; 2] = ["waiting.musl", "steady.musl"];
/// Some MiB, of which no two blocks are alike.
const BIG: u32 = 3_000_001;

fn big() -> Vec<u8> {
    (0..BIG).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()
}

#[test]
fn from_up_to_down() {
    let nodes = Nodes::none();
    // In a folder that is a mount point in the VM.
    let file = nodes.file("big", &big());
    let programs: Vec<&str> =
        SAME.iter().chain(&OTHERS).chain(&hostile::PROGRAMS).copied().collect();
    let mut list = files(&programs);
    list.insert_str(list.len() - 1, &format!(", {file:?}"));
    nodes.up("node", &node(&list));
    let status = nodes.status();
    assert_eq!(status["service"]["kind"], "vm", "{status}");
    assert_eq!(status["service"]["state"]["state"], "running", "{status}");

    all_processors(&nodes);
    another_linux_serves(&nodes);
    devices(&nodes);
    statuses(&nodes);
    streams(&nodes);
    the_file_arrives_whole(&nodes, &file.display().to_string());
    programs_do_as_on_the_host(&nodes);
    signals(&nodes);
    restarts_do_not_disturb(&nodes);
    hostile::neighbours_cannot_be_read(&nodes);
    hostile::a_mad_lwk_costs_one_proxy(&nodes);
    assert_both_serve(&nodes);
    nodes.down();
}

/// What a program in an LWK sees is the service VM, not this machine.
fn another_linux_serves(nodes: &Nodes) {
    let name = exec_service(nodes, "uname -n -r -v");
    assert!(name.stdout_text().starts_with("service "), "{name:?}");
    for lwk in LWKS {
        let seen = nodes.exec(lwk, busybox(), &["uname", "-n", "-r", "-v"]);
        assert_prints(&seen, &name.stdout_text());
    }
    assert_prints(&exec_service(nodes, "nproc; ls /dev/dax*"), "2\n/dev/dax0.0\n/dev/dax1.0\n");
}

/// Virtio consoles and random numbers work, and the LWKs' memory is mapped cached.
fn devices(nodes: &Nodes) {
    assert_prints(&exec_service(nodes, "echo by virtio > /dev/hvc0"), "");
    let console = nodes.run(["log", "service"]);
    assert!(console.stdout_text().contains("by virtio"), "{console:?}");
    assert_prints(&exec_service(nodes, "head -c 16 /dev/hwrng | wc -c"), "16\n");
    let types = exec_service(
        nodes,
        "mount -t debugfs debugfs /sys/kernel/debug && cat /sys/kernel/debug/x86/pat_memtype_list",
    );
    let region = |line: &&str| line.contains("mem 0x0000000100000000-");
    let line = types.stdout_text().lines().find(region).map(str::to_owned);
    assert!(line.as_ref().is_some_and(|line| line.ends_with("write-back")), "{types:?}");
}

fn statuses(nodes: &Nodes) {
    for lwk in LWKS {
        let shell = nodes.exec(lwk, busybox(), &["sh", "-c", "echo out; echo err >&2; exit 9"]);
        assert_eq!((shell.status, &*shell.stdout_text()), (9, "out\n"), "{shell:?}");
        assert_eq!(shell.stderr_text(), "err\n");
        nodes.exec(lwk, "/no/such/program", &[]).assert_error(127, &["/no/such/program"]);
        nodes.exec(lwk, "/etc", &[]).assert_error(126, &["regular file"]);
    }
    assert_eq!(exec_service(nodes, "exit 7").status, 7);
    assert_eq!(exec_service(nodes, "kill -USR1 $$").status, 138);
    let missing = nodes.run(["exec", "--service", "--", "no-such-program"]);
    missing.assert_error(127, &["no-such-program"]);
}

fn streams(nodes: &Nodes) {
    for lwk in LWKS {
        let mut cat = nodes.start_exec(lwk, busybox(), &["cat"]);
        cat.write_and_close(big());
        assert_same_bytes(&cat.finish(), lwk);
    }
    let mut command = nodes.command(margay());
    command.args(["exec", "--service", "--", "cat"]);
    let mut cat = nodes.start_command(&mut command);
    cat.write_and_close(big());
    assert_same_bytes(&cat.finish(), "the service VM");
    let pipe = nodes.shell(&format!(
        "\"$MARGAY\" exec --lwk left -- /bin/busybox seq 20000 | \"$MARGAY\" exec --service -- sort -rn \
         | \"$MARGAY\" exec --lwk right -- /bin/busybox head -n 2"
    ));
    assert_prints(&pipe, "20000\n19999\n");
}

fn assert_same_bytes(outcome: &Outcome, place: &str) {
    assert!(
        outcome.status == 0 && outcome.stdout == big(),
        "{place}: {} of {BIG} bytes, {}",
        outcome.stdout.len(),
        outcome.stderr_text()
    );
}

/// Delegated reads of a file give its bytes: the checksum is computed in the LWK.
fn the_file_arrives_whole(nodes: &Nodes, path: &str) {
    let here = nodes.shell(&format!("/bin/busybox md5sum {path}"));
    for lwk in LWKS {
        assert_prints(&nodes.exec(lwk, busybox(), &["md5sum", path]), &here.stdout_text());
    }
}

/// In a folder that both have, so that they also see that.
fn programs_do_as_on_the_host(nodes: &Nodes) {
    let folders = tempfile::tempdir().expect("a temporary folder can be made");
    for (number, name) in SAME.iter().enumerate() {
        let folder = folders.path().join(name).join("cwd");
        fs::create_dir_all(&folder).expect("a temporary folder can be written");
        assert_prints(&exec_service(nodes, &format!("mkdir -p {}", folder.display())), "");
        let host = nodes.run_command(nodes.command(program(name)).current_dir(&folder));
        // Memory tests want 128 MiB, which only one has.
        let lwk = if number == 0 { "left" } else { LWKS[number % 2] };
        let mut exec = nodes.command(margay());
        exec.args(["exec", "--lwk", lwk, "--"]).arg(program(name)).current_dir(&folder);
        let seen = nodes.run_command(&mut exec);
        assert!(seen == host, "{name} in {lwk}: host {host:?}\nLWK {seen:?}");
    }
}

/// Signals reach the program through the VM, and its LWK is ready again afterwards.
fn signals(nodes: &Nodes) {
    let ways = [
        ("left", "read", Signal::Terminate, 143),
        ("left", "spin", Signal::Interrupt, 130),
        ("right", "read", Signal::Hangup, 129),
        ("right", "spin", Signal::Kill, 137),
    ];
    for (lwk, how, signal, status) in ways {
        let running = waiting(nodes, lwk, how);
        running.signal(signal);
        assert_eq!(running.finish().status, status, "{how} {signal:?} in {lwk}");
        nodes.wait_for_state(lwk, "ready");
    }
    for lwk in LWKS {
        let running = waiting(nodes, lwk, "spin");
        running.signal(Signal::Quit);
        running.finish().assert_error(131, &["rip", "rsp", "last system calls", "write"]);
    }
}

fn restarts_do_not_disturb(nodes: &Nodes) {
    let mut steady = nodes.start_exec("left", program("steady.musl"), &[]);
    steady.wait_for("ready");
    nodes.wait_for_state("right", "ready");
    let before = nodes.lwk("right")["boots"].as_u64().expect("it counts");
    let times = place().times(20);
    for _ in 0..times {
        nodes.run(["restart", "right"]).assert_error(0, &["right is ready again after"]);
    }
    assert_eq!(nodes.lwk("right")["boots"], before + u64::from(times));
    let spinning = waiting(nodes, "right", "spin");
    assert_eq!(nodes.run(["restart", "right"]).status, 0);
    spinning.finish().assert_error(super::FAILED, &["right was restarted"]);
    steady.write_and_close(Vec::new());
    assert_prints(&steady.finish(), "ready\nall right\n");
}
