//! A mad guest costs only itself. In fused mode the program can reach all that the LWK can, so it plays one: it destroys the
//! LWK, lies in its rings, names memory that is not there. Margay must end with a word about it, and leave nothing behind
//! (which every run of the harness checks).

use margay_tests::{Case, Mode, program};

/// Attacks, with the exit status in fused mode and a word that must be said.
const ATTACKS: [(&str, i32, &str); 13] = [
    ("kernel-code", 125, "margay: the LWK"),
    ("kernel-data", 125, "margay: the LWK"),
    ("ring-index", 125, "index"),
    ("ring-head", 125, "channel"),
    ("descriptor-address", 125, "channel"),
    ("descriptor-length", 125, "channel"),
    ("map-log", 125, "margay-proxy:"),
    ("garbage", 125, "margay-proxy:"),
    ("outside", 139, "SIGSEGV"),
    ("other-port", 139, "SIGSEGV"),
    ("unknown-channel", 125, "channel 1000"),
    ("unknown-doorbell", 125, "channel 77"),
    ("log-length", 0, ""),
];

#[test]
fn a_hostile_guest_costs_only_itself() {
    for mode in Mode::all() {
        for (attack, status, word) in ATTACKS {
            let outcome = Case::new(program("hostile.musl")).args([attack]).run(&mode);
            // In protected mode none of it is in a program's reach.
            let (status, word) =
                if mode.isolation == "protected" { (139, "SIGSEGV") } else { (status, word) };
            assert!(
                outcome.status == status && outcome.stderr_text().contains(word),
                "{attack} in {mode}: want status {status} and \"{word}\": {outcome:?}"
            );
        }
    }
}

#[test]
fn the_proxys_memory_is_no_place_to_read_into() {
    for mode in Mode::all() {
        let case = Case::new(program("hostile.musl")).args(["proxy-memory"]);
        assert_eq!(case.run(&mode).status, 0, "{mode}");
    }
}
