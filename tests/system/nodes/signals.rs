//! Signals to a program in a node act as on any process, and its LWK is ready again afterwards.

use margay_tests::{Mode, Nodes, Signal, busybox, program};

use super::{assert_prints, one, waiting};

fn assert_ready_again(nodes: &Nodes) {
    nodes.wait_for_state("lwk0", "ready");
    assert_prints(&nodes.exec("lwk0", busybox(), &["echo", "again"]), "again\n");
}

#[test]
fn ends_by_signals() {
    let ways = [
        ("read", Signal::Terminate, 143),
        ("spin", Signal::Interrupt, 130),
        ("spin", Signal::Kill, 137),
        ("read", Signal::Hangup, 129),
    ];
    for mode in Mode::all_natively() {
        let nodes = one(&mode);
        for (how, signal, status) in ways {
            let running = waiting(&nodes, "lwk0", how);
            running.signal(signal);
            assert_eq!(running.finish().status, status, "{how} {signal:?} in {mode}");
        }
        assert_ready_again(&nodes);
        nodes.down();
    }
}

#[test]
fn quit_says_where_the_program_is() {
    let mode = Mode::first();
    let nodes = one(&mode);
    for how in ["read", "spin"] {
        let running = waiting(&nodes, "lwk0", how);
        running.signal(Signal::Quit);
        let outcome = running.finish();
        outcome.assert_error(131, &["rip", "rsp", "last system calls", "write"]);
        nodes.wait_for_state("lwk0", "ready");
    }
    assert_ready_again(&nodes);
    nodes.down();
}

#[test]
fn a_time_limit() {
    let nodes = one(&Mode::first());
    let script = format!(
        "/bin/busybox timeout 1 \"$MARGAY\" exec --lwk lwk0 -- {} spin",
        program("waiting.musl").display()
    );
    let outcome = nodes.shell(&script);
    assert_eq!((outcome.status, &*outcome.stdout_text()), (143, "ready\n"), "{outcome:?}");
    assert_ready_again(&nodes);
    nodes.down();
}

#[test]
fn what_the_caller_ignores_the_program_ignores() {
    for mode in Mode::all_natively() {
        let nodes = one(&mode);
        let script = format!(
            "trap '' HUP QUIT; exec \"$MARGAY\" exec --lwk lwk0 -- {} read",
            program("waiting.musl").display()
        );
        let mut running = nodes.start_command(nodes.command("/bin/sh").args(["-c", &script]));
        running.wait_for("ready");
        running.signal(Signal::Hangup);
        running.signal(Signal::Quit);
        running.write_and_close(b"still here".to_vec());
        assert_prints(&running.finish(), "ready\nread 10 bytes, then the end\n");
        nodes.down();
    }
}
