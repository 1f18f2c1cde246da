//! The service VM panics, switches itself off, runs out of memory, hangs, while programs wait for its answers: each is reported, no
//! program and no command hangs, and `restart service` heals.

use std::{
    thread,
    time::{Duration, Instant},
};

use margay_tests::{Nodes, Running, busybox};
use serde_json::Value;

use super::{FAILED, assert_both_serve, exec_service, files, node, waiting};

/// Longer than a VM may be silent before it counts as hung.
const NOTICED: Duration = Duration::from_secs(40);

#[test]
fn each_is_noticed_and_healed() {
    let nodes = Nodes::with(&node(&files(&["waiting.musl"])));
    panics(&nodes);
    runs_out_of_memory(&nodes);
    hangs(&nodes);
    // A node can go down without its service VM, too.
    switches_itself_off(&nodes);
    nodes.down();
}

/// A program in each LWK: one waits for a call's answer, the other computes.
fn in_flight(nodes: &Nodes) -> [Running; 2] {
    [waiting(nodes, "left", "read"), waiting(nodes, "right", "spin")]
}

fn restart(nodes: &Nodes) {
    nodes.run(["restart", "service"]).assert_error(0, &["the service VM is up again after"]);
    assert_eq!(nodes.status()["service"]["state"]["state"], "running");
}

/// Waits until the service VM is in `state`, and returns what is said of it then.
fn wait_for_service(nodes: &Nodes, state: &str) -> Value {
    let deadline = Instant::now() + NOTICED;
    loop {
        let now = nodes.status()["service"]["state"].clone();
        if now["state"] == state {
            return now;
        }
        assert!(Instant::now() < deadline, "the service VM does not come to be {state}: {now}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// That commands say what has become of the service VM, and what to do.
fn assert_refused(nodes: &Nodes, word: &str) {
    let words = ["service VM", word, "margay restart service"];
    nodes.exec("left", busybox(), &["true"]).assert_error(FAILED, &words);
    exec_service(nodes, "true").assert_error(FAILED, &words);
}

fn panics(nodes: &Nodes) {
    let programs = in_flight(nodes);
    let last = exec_service(nodes, "echo c > /proc/sysrq-trigger");
    let line = "Kernel panic - not syncing: sysrq triggered crash";
    last.assert_error(FAILED, &["the service VM has ended", line]);
    for program in programs {
        program.finish().assert_error(FAILED, &["the service VM has ended", line]);
    }
    let state = wait_for_service(nodes, "failed");
    assert!(state["reason"].as_str().is_some_and(|reason| reason.contains(line)), "{state}");
    let ps = nodes.run(["ps"]).stdout_text();
    assert!(ps.contains("FAILED") && ps.contains(line), "{ps}");
    let log = nodes.log("service");
    assert!(log.contains("Linux version") && log.contains("sysrq: Trigger a crash"), "{log}");
    assert_refused(nodes, line);
    restart(nodes);
    assert_both_serve(nodes);
}

/// The VM's Linux ends whoever eats its memory; the agent, and the programs that do not, go on.
fn runs_out_of_memory(nodes: &Nodes) {
    let [mut read, spin] = in_flight(nodes);
    // Without a line's end it keeps all that it has read.
    assert_eq!(exec_service(nodes, "exec tail /dev/zero").status, 137);
    let log = nodes.log("service");
    assert!(log.contains("Out of memory: Killed process"), "{log}");
    read.write_and_close(b"still here".to_vec());
    super::assert_prints(&read.finish(), "ready\nread 10 bytes, then the end\n");
    assert_eq!(nodes.state("right"), "running");
    spin.signal(margay_tests::Signal::Terminate);
    assert_eq!(spin.finish().status, 143);
    assert_both_serve(nodes);
}

/// A kernel that panics and was told to stay so stands still for ever.
fn hangs(nodes: &Nodes) {
    let programs = in_flight(nodes);
    let mut command = nodes.command(margay_tests::margay());
    let script = "echo 0 > /proc/sys/kernel/panic; echo c > /proc/sysrq-trigger";
    command.args(["exec", "--service", "--", "/bin/sh", "-c", script]);
    let last = nodes.start_command(&mut command);
    let state = wait_for_service(nodes, "hung");
    assert!(
        state["place"].as_str().is_some_and(|place| place.contains("vCPU 1 on core 1")),
        "{state}"
    );
    let ps = nodes.run(["ps"]).stdout_text();
    assert!(ps.contains("HUNG") && ps.contains("has not answered for"), "{ps}");
    // Who asks for nothing goes on; who asks is told after a while.
    exec_service(nodes, "true").assert_error(FAILED, &["service VM"]);
    assert_eq!(nodes.state("right"), "running");
    restart(nodes);
    for program in programs.into_iter().chain([last]) {
        program.finish().assert_error(FAILED, &["service VM"]);
    }
    assert_both_serve(nodes);
}

fn switches_itself_off(nodes: &Nodes) {
    let programs = in_flight(nodes);
    exec_service(nodes, "poweroff -f; sleep 60").assert_error(FAILED, &["switched itself off"]);
    for program in programs {
        program.finish().assert_error(FAILED, &["switched itself off"]);
    }
    wait_for_service(nodes, "failed");
    assert_refused(nodes, "switched itself off");
}
