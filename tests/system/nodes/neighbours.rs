//! Several LWKs of a node run programs at the same time, and what happens to one does not disturb another.

use margay_tests::{Mode, NodeFile, Nodes, Signal, busybox, place};

use super::{FAILED, assert_prints, assert_undisturbed, steady, two, waiting};

#[test]
fn at_the_same_time() {
    for mode in Mode::all_natively() {
        let nodes = two(&mode);
        let mut cats = ["a", "b"].map(|lwk| nodes.start_exec(lwk, busybox(), &["cat"]));
        // In turn, so that neither can have ended before the other began.
        for round in ["1", "2", "3"] {
            for (number, cat) in cats.iter_mut().enumerate() {
                let text = format!("{number}:{round}\n");
                cat.write(text.as_bytes());
                cat.wait_for(&text);
            }
        }
        for (number, mut cat) in cats.into_iter().enumerate() {
            cat.write_and_close(Vec::new());
            assert_prints(&cat.finish(), &format!("{number}:1\n{number}:2\n{number}:3\n"));
        }
        nodes.down();
    }
}

#[test]
fn run_runs_every_program_of_the_file() {
    let nodes = Nodes::none();
    let program = |words: &str| format!("program = {:?}\nargs = {words}\n", busybox());
    let (first, second) = (
        program("[\"sh\", \"-c\", \"read a; echo first; exit 4\"]"),
        program("[\"sh\", \"-c\", \"echo second\"]"),
    );
    let text = NodeFile::text(&Mode::first(), &[("a", &first), ("idle", ""), ("b", &second)]);
    let file = nodes.file("node.toml", text.as_bytes());
    let outcome = nodes.run(["run".as_ref(), file.as_os_str()]);
    let text = outcome.stdout_text();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!((outcome.status, &lines[..]), (4, &["first", "second"][..]), "{outcome:?}");
    let outcome = nodes.run(["run".as_ref(), file.as_os_str(), "--lwk".as_ref(), "b".as_ref()]);
    assert_prints(&outcome, "second\n");
    nodes.assert_nothing_left();
}

#[test]
fn restarts_do_not_disturb() {
    for mode in Mode::all_natively() {
        let nodes = two(&mode);
        let steady = steady(&nodes, "b");
        let times = place().times(20);
        for _ in 0..times {
            let outcome = nodes.run(["restart", "a"]);
            outcome.assert_error(0, &["a is ready again after"]);
        }
        let boots = &nodes.lwk("a")["boots"];
        assert_eq!(*boots, times + 1, "{mode}");
        // Also with a program inside.
        let spinning = waiting(&nodes, "a", "spin");
        assert_eq!(nodes.run(["restart", "a"]).status, 0);
        spinning.finish().assert_error(FAILED, &["a was restarted"]);
        assert_undisturbed(steady);
        nodes.down();
    }
}

#[test]
fn ends_and_failures_do_not_disturb() {
    let nodes = two(&Mode::first());
    let steady = steady(&nodes, "b");
    for _ in 0..place().times(10) {
        assert_eq!(nodes.exec("a", busybox(), &["false"]).status, 1);
    }
    assert_eq!(nodes.run(["stop", "a"]).status, 0);
    assert_eq!(nodes.state("a"), "stopped");
    assert_eq!(nodes.run(["restart", "a"]).status, 0);
    assert_undisturbed(steady);
    nodes.down();
}

#[test]
fn a_storm_of_commands() {
    let nodes = two(&Mode::first());
    let rounds = place().times(10);
    // Each program runs whole or is refused; an LWK may be taken from it.
    let script = format!(
        "i=0; while [ $i -lt {rounds} ]; do i=$((i + 1))\n\
         out=$(\"$MARGAY\" exec -- /bin/busybox echo whole 2>/dev/null); status=$?\n\
         case \"$status $out\" in '0 whole' | 125*) ;; *) echo \"wrong: $status $out\" ;; esac; done"
    );
    let storm: Vec<_> = (0..4)
        .map(|_| nodes.start_command(nodes.command("/bin/sh").args(["-c", &script])))
        .collect();
    for _ in 0..rounds {
        for command in [["restart", "a"], ["stop", "b"], ["restart", "b"], ["log", "a"]] {
            assert_eq!(nodes.run(command).status, 0, "{command:?}");
            // Killed at any point of its start.
            let victim = nodes.start_exec("a", busybox(), &["sleep", "60"]);
            victim.signal(Signal::Kill);
            victim.finish();
        }
    }
    for shell in storm {
        assert_prints(&shell.finish(), "");
    }
    for lwk in ["a", "b"] {
        nodes.wait_for_state(lwk, "ready");
        assert_prints(&nodes.exec(lwk, busybox(), &["echo", "again"]), "again\n");
    }
    nodes.down();
}
