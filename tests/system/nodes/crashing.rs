//! Programs that crash, alone or with their LWK, cost nobody else anything.

use margay_tests::{Mode, busybox, place, program};

use super::{FAILED, assert_prints, assert_undisturbed, one, steady, two};

#[test]
fn an_lwk_that_crashes_again_and_again() {
    let Some(mode) = Mode::fused() else { return };
    let nodes = two(&mode);
    let steady = steady(&nodes, "b");
    let ways = ["kernel-code", "kernel-data", "unknown-channel"];
    for (_, way) in (0..place().times(12)).zip(ways.iter().cycle()) {
        let outcome = nodes.exec("a", program("hostile.musl"), &[way]);
        outcome.assert_error(FAILED, &["margay: the LWK"]);
        assert_eq!(outcome.stdout_text(), format!("about to: {way}\n"));
        let lwk = nodes.wait_for_state("a", "ready");
        let last = lwk["last_end"].as_str().unwrap_or_default();
        assert!(last.contains(way) && last.contains("the LWK"), "{lwk}");
    }
    let log = nodes.log("a");
    assert!(log.contains("margay: the LWK failed") && log.contains("rip"), "{log}");
    assert!(!nodes.log("b").contains("margay: the LWK"), "{}", nodes.log("b"));
    assert!(nodes.run(["ps"]).stdout_text().contains("(last: "));
    assert_prints(&nodes.exec("a", busybox(), &["echo", "again"]), "again\n");
    assert_undisturbed(steady);
    nodes.down();
}

#[test]
fn a_program_that_crashes() {
    for mode in Mode::all() {
        let nodes = one(&mode);
        let outcome = nodes.exec("lwk0", program("crash.musl"), &["segv"]);
        assert_eq!(outcome.status, 139, "{mode}: {outcome:?}");
        let lwk = nodes.wait_for_state("lwk0", "ready");
        assert!(lwk["last_end"].as_str().is_some_and(|end| end.contains("SIGSEGV")), "{lwk}");
        let log = nodes.log("lwk0");
        assert!(log.contains("SIGSEGV") && log.contains("rip"), "{mode}: {log}");
        nodes.down();
    }
}
