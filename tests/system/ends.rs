//! Ends that come from outside: Ctrl-C, SIGTERM, `kill -9`. That nothing is left is checked after every run.

use std::fs;

use margay_tests::{Case, Mode, Running, Signal, program};

/// Programs that wait in a call, and that compute without any.
const STATES: [&str; 2] = ["read", "spin"];

fn started(how: &str, mode: &Mode) -> (Running, margay_tests::NodeFile) {
    let (running, node) = Case::new(program("waiting.musl")).args([how]).start(mode);
    running.wait_for("ready");
    (running, node)
}

#[test]
fn ctrl_c_ends_with_130() {
    for mode in Mode::all() {
        for how in STATES {
            let (running, _node) = started(how, &mode);
            running.signal_group(Signal::Interrupt);
            assert_eq!(running.finish().status, 130, "{how} in {mode}");
        }
    }
}

#[test]
fn sigterm_ends_with_143() {
    for mode in Mode::all() {
        for how in STATES {
            let (running, _node) = started(how, &mode);
            running.signal(Signal::Terminate);
            assert_eq!(running.finish().status, 143, "{how} in {mode}");
        }
    }
}

#[test]
fn a_signal_that_the_program_ignores_ends_nothing() {
    for mode in Mode::all() {
        let (mut running, _node) = started("ignore", &mode);
        running.signal(Signal::Terminate);
        running.write_and_close(b"still here".to_vec());
        let outcome = running.finish();
        assert_eq!(outcome.stdout_text(), "ready\nread 10 bytes, then the end\n", "{mode}");
        assert_eq!(outcome.status, 0, "{mode}");
    }
}

#[test]
fn a_killed_vmm_takes_the_proxy_along() {
    for mode in Mode::all() {
        for how in STATES {
            let (running, _node) = started(how, &mode);
            assert!(running.processes().len() > 1, "there is a proxy to be left behind");
            running.signal(Signal::Kill);
            // finish() fails if the proxy stays.
            assert_eq!(running.finish().status, 137, "{how} in {mode}");
        }
    }
}

#[test]
fn a_killed_proxy_takes_the_vmm_along() {
    for mode in Mode::all() {
        for how in STATES {
            let (running, _node) = started(how, &mode);
            running.signal_process(proxy_of(&running), Signal::Kill);
            let outcome = running.finish();
            outcome.assert_error(137, &["proxy", "SIGKILL"]);
        }
    }
}

fn proxy_of(running: &Running) -> u32 {
    let is_proxy = |pid: &u32| {
        let exe = fs::read_link(format!("/proc/{pid}/exe"));
        exe.is_ok_and(|path| path.ends_with("margay-proxy"))
    };
    let found = running.processes().into_iter().find(is_proxy);
    found.expect("a running program has a proxy")
}
