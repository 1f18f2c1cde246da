//! Nodes that live: from `margay up` to `margay down`, with the host as service OS.

mod crashing;
mod down;
mod exec;
mod failures;
mod hung;
mod isolation;
mod life;
mod neighbours;
mod restart;
mod signals;
mod watching;

use margay_tests::{Mode, NodeFile, Nodes, Outcome, Running, program};

/// A wrong command line, or what is not there.
const USAGE: i32 = 2;
/// Margay, or the LWK, failed.
const FAILED: i32 = 125;

/// A node with the LWK `lwk0`.
fn one(mode: &Mode) -> Nodes {
    Nodes::with(&NodeFile::text(mode, &[("lwk0", "")]))
}

/// A node with the LWKs `a` and `b`.
fn two(mode: &Mode) -> Nodes {
    Nodes::with(&NodeFile::text(mode, &[("a", ""), ("b", "")]))
}

/// A program that waits: for its stdin (`read`), or computing (`spin`). It runs when this returns.
fn waiting(nodes: &Nodes, lwk: &str, how: &str) -> Running {
    let running = nodes.start_exec(lwk, program("waiting.musl"), &[how]);
    running.wait_for("ready");
    running
}

/// A program that works and checks what it does until [`assert_undisturbed`].
fn steady(nodes: &Nodes, lwk: &str) -> Running {
    let running = nodes.start_exec(lwk, program("steady.musl"), &[]);
    running.wait_for("ready");
    running
}

fn assert_undisturbed(mut steady: Running) {
    steady.write_and_close(Vec::new());
    let outcome = steady.finish();
    assert_eq!((outcome.status, &*outcome.stdout_text()), (0, "ready\nall right\n"), "{outcome:?}");
}

fn assert_prints(outcome: &Outcome, text: &str) {
    assert_eq!((outcome.status, &*outcome.stdout_text()), (0, text), "{outcome:?}");
}
