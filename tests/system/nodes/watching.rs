//! `margay stat` and `margay log`.

use margay_tests::{Mode, Nodes, Signal, busybox, program};
use serde_json::Value;

use super::{FAILED, USAGE, assert_undisturbed, one, steady};

fn json(nodes: &Nodes, args: &[&str]) -> Value {
    let outcome = nodes.run(args);
    serde_json::from_slice(&outcome.stdout).unwrap_or_else(|_| panic!("no JSON: {outcome:?}"))
}

#[test]
fn calls_are_counted_while_a_program_runs() {
    for mode in Mode::all_natively() {
        let nodes = one(&mode);
        let idle = nodes.run(["stat"]).stdout_text();
        assert!(idle.contains("READY") && idle.contains("CALLS/S"), "{idle}");
        let steady = steady(&nodes, "lwk0");
        let calls = || json(&nodes, &["stat", "--json"])["lwks"][0]["counters"]["calls"].as_u64();
        let before = calls();
        assert!(before > Some(0), "{mode}: {before:?}");
        let growing = (0..100).any(|_| calls() > before);
        assert!(growing, "{mode}: {before:?} for long");
        let text = nodes.run(["stat"]).stdout_text();
        let line = text.lines().find(|line| line.starts_with("lwk0")).unwrap_or_default();
        assert!(line.contains("RUNNING") && line.contains("MiB"), "{mode}: {text}");
        assert_undisturbed(steady);
        nodes.down();
    }
}

#[test]
fn again_every_second() {
    let nodes = one(&Mode::first());
    let watch = nodes.start(["stat", "--watch"]);
    watch.wait_for("READY");
    let running = super::waiting(&nodes, "lwk0", "spin");
    watch.wait_for("RUNNING");
    watch.signal(Signal::Interrupt);
    assert_eq!(watch.finish().status, 130);
    running.signal(Signal::Kill);
    running.finish();
    nodes.down();
}

#[test]
fn figures_of_the_last_program() {
    let nodes = one(&Mode::first());
    nodes.run(["stat", "--calls", "lwk0"]).assert_error(FAILED, &["no program has run in lwk0"]);
    let path = busybox();
    let args = ["exec", "--stats", "--", path.to_str().unwrap(), "ls", "/"];
    assert_eq!(nodes.run(args).status, 0);
    nodes.wait_for_state("lwk0", "ready");
    let text = nodes.run(["stat", "--calls", "lwk0"]).stdout_text();
    assert!(text.contains("getdents64") && text.contains("write"), "{text}");
    let data = json(&nodes, &["stat", "--calls", "lwk0", "--json"]);
    assert!(data.is_object() && data.to_string().contains("getdents64"), "{data}");
    nodes.run(["stat", "--calls", "lwk9"]).assert_error(USAGE, &["no LWK lwk9"]);
    nodes.down();
}

#[test]
fn a_log_that_is_followed_ends_with_the_node() {
    let nodes = one(&Mode::first());
    let follower = nodes.start(["log", "-f", "lwk0"]);
    let outcome = nodes.exec("lwk0", program("crash.musl"), &["abort"]);
    assert_eq!(outcome.status, 134, "{outcome:?}");
    let running = super::waiting(&nodes, "lwk0", "spin");
    assert_eq!(nodes.run(["restart", "lwk0"]).status, 0);
    assert_eq!(running.finish().status, FAILED);
    follower.wait_for("lwk0 was restarted");
    let log = nodes.log("lwk0");
    assert_eq!(nodes.run(["down"]).status, 0);
    let outcome = follower.finish();
    assert_eq!((outcome.status, outcome.stdout_text()), (0, log));
    nodes.assert_nothing_left();
}
