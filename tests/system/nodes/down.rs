//! The end of a node: asked for, refused, or by `kill -9`.

use margay_tests::{Mode, NodeFile, Signal, busybox, place};

use super::{FAILED, USAGE, assert_prints, one, two, waiting};

#[test]
fn refused_while_programs_run() {
    for mode in Mode::all_natively() {
        let nodes = two(&mode);
        let (read, spin) = (waiting(&nodes, "a", "read"), waiting(&nodes, "b", "spin"));
        let words = ["programs run", "waiting.musl read", "in a", "in b", "--force"];
        nodes.run(["down"]).assert_error(FAILED, &words);
        assert_eq!((&*nodes.state("a"), &*nodes.state("b")), ("running", "running"), "{mode}");
        nodes.run(["down", "--force"]).assert_error(0, &["node node is down"]);
        for running in [read, spin] {
            running.finish().assert_error(FAILED, &["margay: the node was taken down"]);
        }
        nodes.assert_nothing_left();
    }
}

#[test]
fn it_can_be_had_again_and_again() {
    let nodes = margay_tests::Nodes::none();
    for _ in 0..place().times(10) {
        nodes.up("node", &NodeFile::text(&Mode::first(), &[("lwk0", "")]));
        assert_eq!(nodes.run(["down"]).status, 0);
        nodes.assert_nothing_left();
    }
}

#[test]
fn killed() {
    for mode in Mode::all_natively() {
        let nodes = two(&mode);
        let (read, spin) = (waiting(&nodes, "a", "read"), waiting(&nodes, "b", "spin"));
        let follower = nodes.start(["log", "--follow", "a"]);
        read.signal_process(nodes.pid(), Signal::Kill);
        for running in [read, spin] {
            running.finish().assert_error(FAILED, &["the node is gone"]);
        }
        assert_eq!(follower.finish().status, 0);
        let died = ["node node is not up", "its process has died", "margay up"];
        nodes.run(["ps"]).assert_error(USAGE, &died);
        nodes.exec("a", busybox(), &["true"]).assert_error(USAGE, &died);
        nodes.up("node", &NodeFile::text(&mode, &[("lwk0", "")]));
        assert_prints(&nodes.exec("lwk0", busybox(), &["echo", "back"]), "back\n");
        nodes.down();
    }
}

#[test]
fn a_terminals_signals_do_not_reach_it() {
    let nodes = one(&Mode::first());
    let running = waiting(&nodes, "lwk0", "spin");
    running.signal_group(Signal::Interrupt);
    assert_eq!(running.finish().status, 130);
    nodes.wait_for_state("lwk0", "ready");
    nodes.down();
}
