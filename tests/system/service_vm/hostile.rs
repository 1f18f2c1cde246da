//! A mad LWK costs the service VM one proxy, and its neighbour nothing.
//!
//! In the VM the LWKs' memories are neighbours, too: what names memory beyond its own LWK's would hit the other's, or Linux's.

use margay_tests::{Nodes, busybox, program};

use super::{FAILED, RIGHT_BYTES, assert_prints, exec_service};

const SECRET: &str = "81985529216486895";
/// What the service VM must have for this.
pub const PROGRAMS: [&str; 2] = ["hostile.musl", "secret.musl"];

/// What the attacker does, how its program ends, and a word that must be said.
fn attacks() -> Vec<(Vec<String>, i32, &'static str)> {
    let map_log = |address: u64, bytes: u64| {
        vec!["map-log".to_owned(), format!("{address:#x}"), format!("{bytes:#x}")]
    };
    let word = |word: &str| vec![word.to_owned()];
    vec![
        // Far out; the first page behind its own memory; the last and the one behind; what lies before its memory in the VM.
        (map_log(0xffff_ffff_f000, 0x1000), FAILED, "margay-proxy:"),
        (map_log(RIGHT_BYTES, 0x1000), FAILED, "margay-proxy:"),
        (map_log(RIGHT_BYTES - 0x1000, 0x2000), FAILED, "margay-proxy:"),
        (map_log(0_u64.wrapping_sub(128 << 20), 0x1000), FAILED, "margay-proxy:"),
        (word("descriptor-address"), FAILED, "channel"),
        (word("descriptor-length"), FAILED, "channel"),
        (word("garbage"), FAILED, "margay-proxy:"),
        (word("kernel-code"), FAILED, "margay: the LWK"),
        (word("outside"), 139, "SIGSEGV"),
    ]
}

/// Attacks from `right`, while a program works in `left`.
pub fn a_mad_lwk_costs_one_proxy(nodes: &Nodes) {
    let mut steady = nodes.start_exec("left", program("steady.musl"), &[]);
    steady.wait_for("ready");
    for (attack, status, word) in attacks() {
        let args: Vec<&str> = attack.iter().map(String::as_str).collect();
        let outcome = nodes.exec("right", program("hostile.musl"), &args);
        assert!(
            outcome.status == status && outcome.stderr_text().contains(word),
            "{attack:?}: want status {status} and \"{word}\": {outcome:?}"
        );
        nodes.wait_for_state("right", "ready");
    }
    steady.write_and_close(Vec::new());
    assert_prints(&steady.finish(), "ready\nall right\n");
    assert_eq!(nodes.status()["service"]["state"]["state"], "running");
}

/// Neither the other LWK, nor a program on the service VM's Linux without root's rights, sees what a program has in memory.
pub fn neighbours_cannot_be_read(nodes: &Nodes) {
    let mut keeper = nodes.start_exec("left", program("secret.musl"), &["plant", SECRET]);
    keeper.wait_for("planted");
    let bytes = RIGHT_BYTES.to_string();
    let scan = nodes.exec("right", program("secret.musl"), &["scan", SECRET, "4242", &bytes]);
    assert_prints(&scan, "own found, other 0\n");
    let open = "for d in /dev/dax*; do (: < $d) 2> /dev/null && echo open; done";
    assert_prints(&exec_service(nodes, open), "open\nopen\n");
    let tried = exec_service(nodes, &format!("su user -c '{open}'"));
    assert_eq!(tried.stdout_text(), "", "{tried:?}");
    keeper.write_and_close(Vec::new());
    assert_eq!(keeper.finish().status, 0);
    assert_prints(&nodes.exec("left", busybox(), &["echo", "on"]), "on\n");
}
