//! `margay restart` and `margay stop`.

use margay_tests::{Mode, Nodes, Signal, busybox, margay};

use super::{FAILED, USAGE, assert_prints, one, waiting};

fn restart_from(nodes: &Nodes, image: &std::path::Path) -> margay_tests::Outcome {
    nodes.run(["restart".as_ref(), "lwk0".as_ref(), "--image".as_ref(), image.as_os_str()])
}

#[test]
fn a_program_that_runs_is_told() {
    for mode in Mode::all() {
        let nodes = one(&mode);
        for how in ["read", "spin"] {
            let running = waiting(&nodes, "lwk0", how);
            nodes.run(["restart", "lwk0"]).assert_error(0, &["lwk0 is ready again after"]);
            running.finish().assert_error(FAILED, &["margay: lwk0 was restarted"]);
            let lwk = nodes.lwk("lwk0");
            assert_eq!(lwk["state"], "ready", "{how} in {mode}");
            let last = lwk["last_end"].as_str().unwrap_or_default();
            assert!(last.contains("waiting.musl") && last.contains("restarted"), "{lwk}");
        }
        assert_prints(&nodes.exec("lwk0", busybox(), &["echo", "again"]), "again\n");
        nodes.down();
    }
}

#[test]
fn from_another_image() {
    let nodes = one(&Mode::first());
    let garbage = nodes.file("garbage", b"this is no kernel, whatever its name may say it were");
    let outcome = restart_from(&nodes, &garbage);
    outcome.assert_error(FAILED, &["lwk0 has failed"]);
    let ps = nodes.run(["ps"]).stdout_text();
    assert!(ps.contains("FAILED") && ps.contains("lwk0 cannot be booted: "), "{ps}");
    assert_eq!(nodes.state("lwk0"), "failed");
    assert!(nodes.log("lwk0").contains("cannot be booted"));
    nodes.exec("lwk0", busybox(), &["true"]).assert_error(FAILED, &["lwk0 has failed"]);
    // It was told to boot this one from now on.
    nodes.run(["restart", "lwk0"]).assert_error(FAILED, &["lwk0 has failed"]);

    restart_from(&nodes, "/no/such/image".as_ref()).assert_error(USAGE, &["/no/such/image"]);
    assert_eq!(restart_from(&nodes, &margay().with_file_name("margay-lwk")).status, 0);
    assert_eq!(nodes.state("lwk0"), "ready");
    assert_prints(&nodes.exec("lwk0", busybox(), &["echo", "healed"]), "healed\n");
    nodes.down();
}

#[test]
fn stopped_until_restarted() {
    let nodes = one(&Mode::first());
    nodes.run(["stop", "lwk0"]).assert_error(0, &["lwk0 is stopped"]);
    let stopped = ["lwk0 is stopped", "margay restart lwk0"];
    nodes.exec("lwk0", busybox(), &["true"]).assert_error(FAILED, &stopped);
    assert_eq!(nodes.run(["stop", "lwk0"]).status, 0, "stopping twice is no mistake");
    assert_eq!(nodes.run(["restart", "lwk0"]).status, 0);

    let running = waiting(&nodes, "lwk0", "spin");
    nodes.run(["stop", "lwk0"]).assert_error(0, &["lwk0 is stopped"]);
    running.finish().assert_error(FAILED, &["margay: lwk0 was stopped"]);
    assert_eq!(nodes.state("lwk0"), "stopped");
    assert_eq!(nodes.run(["restart", "lwk0"]).status, 0);
    assert_prints(&nodes.exec("lwk0", busybox(), &["echo", "again"]), "again\n");
    for command in ["restart", "stop", "log"] {
        nodes.run([command, "lwk7"]).assert_error(USAGE, &["no LWK lwk7", "lwk0"]);
    }
    nodes.down();
}

#[test]
fn stopping_frees_the_memory() {
    let nodes = one(&Mode::first());
    let memories = || -> usize {
        let folder = format!("/proc/{}/fd", nodes.pid());
        let entries = std::fs::read_dir(folder).expect("the node is ours");
        let target =
            |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.ok()?.path()).ok();
        let is_memory = |path: &std::path::PathBuf| {
            path.to_string_lossy().starts_with("/memfd:")
                && !path.to_string_lossy().contains("errors")
        };
        entries.filter_map(target).filter(is_memory).count()
    };
    assert_eq!(memories(), 1);
    assert_eq!(nodes.run(["stop", "lwk0"]).status, 0);
    assert_eq!(memories(), 0);
    assert_eq!(nodes.run(["restart", "lwk0"]).status, 0);
    assert_eq!(memories(), 1);
    nodes.down();
}

#[test]
fn a_stand_in_that_does_not_listen_is_killed() {
    let nodes = one(&Mode::first());
    let running = waiting(&nodes, "lwk0", "spin");
    running.signal(Signal::Stop);
    assert_eq!(nodes.run(["restart", "lwk0"]).status, 0);
    assert_eq!(running.finish().status, 137);
    assert_prints(&nodes.exec("lwk0", busybox(), &["echo", "again"]), "again\n");
    nodes.down();
}
