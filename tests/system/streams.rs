//! stdin, stdout and stderr, also when they are closed or full.

use std::path::PathBuf;

use margay_tests::{Case, Mode, Sink, program};

#[test]
fn stdin_ends() {
    for mode in Mode::all() {
        let (mut running, _node) = Case::busybox("cat").start(&mode);
        running.write(b"first\n");
        running.wait_for("first\n");
        running.write_and_close(b"second".to_vec());
        let outcome = running.finish();
        assert_eq!((outcome.status, &*outcome.stdout_text()), (0, "first\nsecond"));
    }
}

#[test]
fn much_output_arrives_whole() {
    Case::busybox("dd if=/dev/zero bs=65536 count=300 status=none").assert_same_as_host();
}

#[test]
fn closed_stdout_kills_by_sigpipe() {
    let case = Case::new(program("closed_pipe.musl")).stdout(Sink::ClosedPipe);
    assert_eq!(case.run_on_host().status, 141);
    for mode in Mode::all() {
        let outcome = case.run(&mode);
        assert_eq!(outcome.status, 141, "{mode}: {outcome:?}");
    }
}

#[test]
fn closed_stdout_is_epipe_for_who_ignores_sigpipe() {
    let case = Case::new(program("closed_pipe.musl")).stdout(Sink::ClosedPipe);
    // By the program's own choice, and inherited from whoever started it.
    for case in [case.clone().args(["ignore"]), case.ignoring_sigpipe()] {
        let host = case.run_on_host();
        assert_eq!(host.status, 3, "{host:?}");
        for mode in Mode::all() {
            assert_eq!(case.run(&mode), host, "{mode}");
        }
    }
}

#[test]
fn a_full_disk_is_enospc() {
    let full = Sink::File(PathBuf::from("/dev/full"));
    Case::new(program("closed_pipe.glibc")).stdout(full).assert_same_as_host();
    Case::busybox("cp in /dev/full").file("in", "data").assert_same_as_host();
}
