//! A program that dies by its own fault: the status that a shell would show, and a report.

use margay_tests::{Case, Mode, program};

#[test]
fn each_way_to_die_has_its_status_and_report() {
    let ways = [
        ("segv", 139, "SIGSEGV"),
        ("readonly", 139, "SIGSEGV"),
        ("noexec", 139, "SIGSEGV"),
        ("protected", 139, "SIGSEGV"),
        ("unmapped", 139, "SIGSEGV"),
        ("stack", 139, "SIGSEGV"),
        ("hlt", 139, "SIGSEGV"),
        ("ud2", 132, "SIGILL"),
        ("divide", 136, "SIGFPE"),
    ];
    for mode in Mode::all() {
        for (way, status, signal) in ways {
            let case = Case::new(program("crash.musl")).args([way]);
            assert_eq!(case.run_on_host().status, status, "{way} on the host");
            let outcome = case.run(&mode);
            assert_eq!(outcome.stdout_text(), format!("about to: {way}\n"), "{mode}");
            outcome.assert_error(status, &[signal, "rip", "rsp"]);
        }
    }
}

#[test]
fn the_report_has_the_address() {
    for mode in Mode::all() {
        let outcome = Case::new(program("crash.glibc")).args(["segv"]).run(&mode);
        outcome.assert_error(139, &["0x10"]);
    }
}

#[test]
fn signals_that_a_program_sends_itself() {
    for mode in Mode::all() {
        for (way, status) in [("abort", 134), ("raise", 138)] {
            for build in ["glibc", "musl"] {
                let case = Case::new(program(&format!("crash.{build}"))).args([way]);
                assert_eq!(case.run_on_host().status, status, "{way} on the host");
                assert_eq!(case.run(&mode).status, status, "{build} {way} in {mode}");
            }
        }
    }
}
