//! A core that takes no interrupts is found, and told from a program that only computes.

use std::{
    thread,
    time::{Duration, Instant},
};

use margay_tests::{Mode, NodeFile, Nodes, busybox, program};

use super::{FAILED, assert_prints, waiting};

fn watched(mode: &Mode, seconds: u32) -> Nodes {
    Nodes::with(&NodeFile::text(mode, &[("lwk0", &format!("watch_s = {seconds}"))]))
}

fn deaf(nodes: &Nodes) -> margay_tests::Running {
    let running = nodes.start_exec("lwk0", program("hostile.musl"), &["deaf"]);
    running.wait_for("about to: deaf");
    running
}

#[test]
fn a_core_that_takes_no_interrupts() {
    let Some(mode) = Mode::fused() else { return };
    let nodes = watched(&mode, 1);
    let running = deaf(&nodes);
    let lwk = nodes.wait_for_state("lwk0", "hung");
    assert_eq!(lwk["pid"], running.pid());
    assert!(lwk["place"].as_str().is_some_and(|place| place.contains("rip")), "{lwk}");
    let ps = nodes.run(["ps"]).stdout_text();
    for word in [
        "HUNG",
        "lwk0 has taken no interrupt for",
        "margay restart lwk0",
        "rip",
        "last system calls",
    ] {
        assert!(ps.contains(word), "no {word}: {ps}");
    }
    nodes.exec("lwk0", busybox(), &["true"]).assert_error(FAILED, &["lwk0 is busy"]);
    assert_eq!(nodes.run(["restart", "lwk0"]).status, 0);
    running.finish().assert_error(FAILED, &["lwk0 was restarted"]);
    assert_prints(&nodes.exec("lwk0", busybox(), &["echo", "healed"]), "healed\n");
    nodes.down();
}

/// Longer than it takes to find a core that hangs.
const LONG: Duration = Duration::from_secs(5);

fn assert_never_hung(nodes: &Nodes, running: &margay_tests::Running) {
    let end = Instant::now() + LONG;
    while Instant::now() < end {
        let lwk = nodes.lwk("lwk0");
        assert_eq!(
            (&lwk["state"], &lwk["pid"]),
            (&"running".into(), &running.pid().into()),
            "{lwk}"
        );
        thread::sleep(LONG / 10);
    }
}

#[test]
fn a_program_that_only_computes_or_waits() {
    let nodes = watched(&Mode::first(), 1);
    for how in ["spin", "read"] {
        let running = waiting(&nodes, "lwk0", how);
        assert_never_hung(&nodes, &running);
        running.signal(margay_tests::Signal::Kill);
        running.finish();
    }
    nodes.down();
}

#[test]
fn nobody_watches() {
    let Some(mode) = Mode::fused() else { return };
    let nodes = watched(&mode, 0);
    let running = deaf(&nodes);
    assert_never_hung(&nodes, &running);
    nodes.run(["down", "--force"]).assert_error(0, &["is down"]);
    assert_eq!(running.finish().status, FAILED);
    nodes.assert_nothing_left();
}
