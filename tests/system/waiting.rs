//! Calls that wait cost nothing while they wait, and end when they should.

use std::{thread, time::Duration};

use margay_tests::{Case, Mode, program};

#[test]
fn a_blocked_read_burns_no_cpu() {
    for mode in Mode::all() {
        let (mut running, _node) = Case::new(program("waiting.musl")).args(["read"]).start(&mode);
        running.wait_for("ready");
        // Longer than either side polls.
        thread::sleep(Duration::from_millis(500));
        let used = running.cpu_time_during(Duration::from_secs(2));
        assert!(
            used < Duration::from_millis(200),
            "{mode}: {used:?} of CPU time in 2 s of waiting"
        );
        running.write_and_close(vec![b'x'; 5000]);
        let outcome = running.finish();
        assert_eq!(outcome.stdout_text(), "ready\nread 5000 bytes, then the end\n", "{mode}");
        assert_eq!(outcome.status, 0);
    }
}

#[test]
fn timeouts_come_in_time() {
    for mode in Mode::all() {
        for (how, line) in [("poll", "poll: 0"), ("sleep", "nanosleep: 0")] {
            let (running, _node) = Case::new(program("waiting.glibc")).args([how]).start(&mode);
            let outcome = running.finish();
            assert_eq!(
                outcome.stdout_text(),
                format!("ready\n{line}\nin time\n"),
                "{how} in {mode}"
            );
        }
    }
}
