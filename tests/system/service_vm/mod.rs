//! A Linux of its own as service OS: a stock kernel in a virtual machine makes the calls of programs in LWKs.
//!
//! A stock kernel needs hardware virtualization, and these tests need four cores: the virtual node has both. Such a VM takes
//! ten seconds to boot there, so each test is one node's life with many checks in it, and none is repeated for each mode: one
//! LWK is protected and polls, the other is fused and makes hypercalls.

mod boot;
mod disk;
mod failures;
mod hostile;
mod life;
mod run;

use margay_tests::{Nodes, Outcome, Running, busybox, margay, program};

/// A wrong command line, or what is not there.
const USAGE: i32 = 2;
/// Margay, or the LWK, or the service VM failed.
const FAILED: i32 = 125;
/// The LWKs, by name.
const LWKS: [&str; 2] = ["left", "right"];
/// Memory of the LWK `right`, which plays the attacker.
const RIGHT_BYTES: u64 = 64 << 20;

/// A node with the LWKs `left` and `right`, and further lines for its service VM.
///
/// Its kernel boots on one processor and gets the other later ([`all_processors`]): under QEMU 7.2 about one boot in ten ended in a
/// triple fault or an endless `text_poke`, that is, while the kernel patched itself and two processors ran.
fn node(service: &str) -> String {
    format!(
        "[service]\nkind = \"vm\"\ncores = [0, 1]\nmemory = \"512M\"\n{service}\n\
         cmdline = \"maxcpus=1\"\n\
         [[lwk]]\nname = \"left\"\ncores = [2]\nmemory = \"128M\"\n\
         isolation = \"protected\"\ndelegation = \"queue\"\n\
         [[lwk]]\nname = \"right\"\ncores = [3]\nmemory = \"{}M\"\n\
         isolation = \"fused\"\ndelegation = \"hypercall\"\n",
        RIGHT_BYTES >> 20
    )
}

/// A line that gives the service VM these programs of `tests/programs/`.
fn files(programs: &[&str]) -> String {
    format!("files = {:?}", programs.iter().map(|name| program(name)).collect::<Vec<_>>())
}

/// Runs a program in the service VM's own Linux.
fn exec_service(nodes: &Nodes, script: &str) -> Outcome {
    let mut command = nodes.command(margay());
    command.args(["exec", "--service", "--", "/bin/sh", "-c", script]);
    nodes.run_command(&mut command)
}

/// Switches the service VM's second processor on.
fn all_processors(nodes: &Nodes) {
    let script = "echo 1 > /sys/devices/system/cpu/cpu1/online";
    assert_prints(&exec_service(nodes, script), "");
}

/// A program that waits: for its stdin (`read`), or computing (`spin`). It runs when this returns.
fn waiting(nodes: &Nodes, lwk: &str, how: &str) -> Running {
    let running = nodes.start_exec(lwk, program("waiting.musl"), &[how]);
    running.wait_for("ready");
    running
}

fn assert_prints(outcome: &Outcome, text: &str) {
    assert_eq!((outcome.status, &*outcome.stdout_text()), (0, text), "{outcome:?}");
}

/// That both LWKs run programs.
fn assert_both_serve(nodes: &Nodes) {
    for lwk in LWKS {
        nodes.wait_for_state(lwk, "ready");
        assert_prints(&nodes.exec(lwk, busybox(), &["echo", lwk]), &format!("{lwk}\n"));
    }
}
