//! What one program has in memory no other sees: not its neighbour, nor the next in the same LWK.

use margay_tests::{Mode, Nodes, program};

use super::{one, two};

const SECRET: &str = "81985529216486895";
const OWN: &str = "4242";
const BYTES: &str = "67108864";
/// 64 MiB, less what the LWK and the program are.
const CLEAN: &str = "much memory, 0 words used before\n";

#[test]
fn a_neighbours_memory() {
    let scan = ["scan", SECRET, OWN, BYTES];
    for mode in Mode::all() {
        let nodes = two(&mode);
        let mut keeper = nodes.start_exec("a", program("secret.musl"), &["plant", SECRET]);
        keeper.wait_for("planted");
        let outcome = nodes.exec("b", program("secret.musl"), &scan);
        if mode.isolation == "fused" {
            super::assert_prints(&outcome, "own found, other 0\n");
        } else {
            assert_eq!(outcome.status, 139, "the direct map is the LWK's alone: {outcome:?}");
        }
        keeper.write_and_close(Vec::new());
        assert_eq!(keeper.finish().status, 0);
        nodes.down();
    }
}

fn remains(nodes: &Nodes, how: &str) -> String {
    nodes.exec("lwk0", program("remains.glibc"), &[how]).stdout_text()
}

#[test]
fn what_an_earlier_program_left() {
    for mode in Mode::all() {
        let nodes = one(&mode);
        assert_eq!(remains(&nodes, "fill"), CLEAN, "{mode}");
        assert_eq!(remains(&nodes, "fill"), CLEAN, "{mode}");
        assert_eq!(nodes.run(["restart", "lwk0"]).status, 0);
        assert_eq!(remains(&nodes, "check"), CLEAN, "{mode}");
        nodes.down();
    }
}
