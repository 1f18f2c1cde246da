//! Several LWKs: who gets what of cores and memory.

use proptest::prelude::{Just, Strategy, any, prop_assert, prop_oneof, proptest};
use proptest::{collection, option};

use super::{host, mistakes, node, on};
use crate::partition::{Partition, Resources, resolve};
use crate::units::{Bytes, CoreId, CoreSet};

/// The cores of the service OS, then of each LWK.
fn cores(partition: &Partition) -> Vec<String> {
    let lwks = partition.lwks.iter().map(|lwk| lwk.cores.iter().copied().collect::<CoreSet>());
    [partition.service.cores.clone()].into_iter().chain(lwks).map(|c| c.to_string()).collect()
}

fn notes(partition: &Partition) -> String {
    partition.notes.iter().map(|note| note.0.as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn cores_are_shared_out_over_all() {
    for (count, text, expected) in [
        (4, "[[lwk]]\n[[lwk]]\n[[lwk]]", &["0", "3", "2", "1"][..]),
        (8, "[[lwk]]\n[[lwk]]", &["0-5", "7", "6"]),
        // Named cores are taken first, wherever they are named.
        (4, "[[lwk]]\n[[lwk]]\ncores = [3]", &["0-1", "2", "3"]),
        (4, "[service]\ncores = [3]\n[[lwk]]\n[[lwk]]", &["3", "2", "1"]),
        // The rest comes last.
        (6, "[[lwk]]\ncores = \"rest\"\n[[lwk]]", &["0", "1-4", "5"]),
        (
            6,
            "[service]\ncores = \"0-1\"\n[[lwk]]\ncores = \"rest\"\n[[lwk]]\ncores = [3]",
            &["0-1", "2,4-5", "3"],
        ),
        (
            6,
            "[service]\ncores = \"rest\"\n[[lwk]]\n[[lwk]]\ncores = \"1-2\"",
            &["0,3-4", "5", "1-2"],
        ),
    ] {
        assert_eq!(cores(&on(&host(count), text)), expected, "{text}");
    }
    let mut isolating = host(6);
    isolating.cores.isolated = CoreSet::from([1, 2]);
    assert_eq!(cores(&on(&isolating, "[[lwk]]\n[[lwk]]\n[[lwk]]")), ["0,3-4", "2", "1", "5"]);
}

#[test]
fn oversubscribed_cores_have_several_owners() {
    let node = "[node]\noversubscribe = true\n";
    for (count, text, expected, shared) in [
        // Enough for all: nothing is shared, and nothing is void.
        (3, "[[lwk]]\n[[lwk]]", &["0", "2", "1"][..], None),
        (2, "[[lwk]]\n[[lwk]]", &["0", "1", "1"], Some("core 1 by LWK lwk0, LWK lwk1")),
        (
            3,
            "[[lwk]]\n[[lwk]]\n[[lwk]]\n[[lwk]]",
            &["0", "2", "1", "2", "1"],
            Some("core 1 by LWK lwk1, LWK lwk3; core 2 by"),
        ),
        (1, "[[lwk]]", &["0", "0"], Some("core 0 by the service OS, LWK lwk0")),
        (
            2,
            "[[lwk]]\ncores = [0, 1]\n[[lwk]]\ncores = [1]",
            &["0", "0-1", "1"],
            Some("core 0 by the service OS, LWK lwk0; core 1 by LWK lwk0, LWK lwk1"),
        ),
        (
            2,
            "[[lwk]]\n[[lwk]]\ncores = \"rest\"",
            &["0", "1", "1"],
            Some("core 1 by LWK lwk0, LWK lwk1"),
        ),
    ] {
        let partition = on(&host(count), &format!("{node}{text}"));
        assert_eq!(cores(&partition), expected, "{text}");
        let notes = notes(&partition);
        assert_eq!(notes.contains("void"), shared.is_some(), "{text}: {notes}");
        assert!(notes.contains(shared.unwrap_or_default()), "{text}: {notes}");
    }
    let none = mistakes(&host(0), &format!("{node}[[lwk]]"));
    assert!(none[0].starts_with("too few cores: one for the service OS and one for each LWK make 2, but this process may use 0"), "{none:?}");
}

#[test]
fn what_cannot_be_shared_out_names_the_owners() {
    for (count, text, expected) in [
        (
            2,
            "[[lwk]]\n[[lwk]]",
            "too few cores: one for the service OS and one for each LWK make 3, but this process may use 2",
        ),
        (
            4,
            "[[lwk]]\nname = \"a\"\ncores = \"1-3\"\n[[lwk]]\nname = \"b\"\ncores = \"2-3\"",
            "6 cores 2-3 are given to both LWK a and LWK b",
        ),
        (
            4,
            "[[lwk]]\ncores = \"rest\"\n[[lwk]]\ncores = \"rest\"",
            "4 `cores` cannot be \"rest\" here: LWK lwk0 has the rest already",
        ),
        (
            4,
            "[service]\ncores = \"rest\"\n[[lwk]]\ncores = \"rest\"",
            "4 `cores` cannot be \"rest\" here: the service OS has the rest already",
        ),
        (
            4,
            "[[lwk]]\ncores = \"1-3\"\n[[lwk]]\nname = \"b\"",
            "3 no core is left for LWK b: the others have 0-3",
        ),
        (
            4,
            "[[lwk]]\nmemory = \"rest\"\n[[lwk]]\nmemory = \"rest\"",
            "4 `memory` cannot be \"rest\" here: LWK lwk0 has the rest already",
        ),
        (
            4,
            "[[lwk]]\nmemory = \"5G\"\n[[lwk]]\nname = \"b\"\nmemory = \"1/2\"",
            "5 4 GiB of memory for LWK b is more than the 8 GiB that are available: LWK lwk0 has 5 GiB (write at most \"3072M\"",
        ),
        (
            4,
            "[[lwk]]\nmemory = \"8G\"\n[[lwk]]\nmemory = \"16M\"",
            "4 16 MiB of memory for LWK lwk1 is more than the 8 GiB that are available: LWK lwk0 has 8 GiB (leave less to the others)",
        ),
        (
            4,
            "[[lwk]]\nmemory = \"8G\"\n[[lwk]]",
            "3 0 B of memory for LWK lwk1 is less than an LWK needs",
        ),
    ] {
        let found = mistakes(&host(count), text);
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text:?}: {found:?}");
    }
    let short = mistakes(&host(2), "[[lwk]]\n[[lwk]]");
    assert!(short[0].contains("oversubscribe = true"), "{short:?}");
}

#[test]
fn memory_is_shared_out_over_all() {
    let mib = |text: &str, available| {
        let host = Resources { available, ..host(8) };
        let lwks = on(&host, text).lwks;
        lwks.iter().map(|lwk| lwk.memory.0 >> 20).collect::<Vec<_>>()
    };
    let auto = "[[lwk]]\nstack = \"2M\"\n";
    assert_eq!(mib(&auto.repeat(2), Bytes::gib(8)), [1024, 1024]);
    assert_eq!(mib(&auto.repeat(4), Bytes::gib(1)), [128; 4]);
    // Amounts come first, then "auto", then "rest" but for the host's reserve.
    let text = format!("[[lwk]]\nmemory = \"rest\"\n{auto}[[lwk]]\nmemory = \"2G\"\n");
    assert_eq!(mib(&text, Bytes::gib(8)), [8192 - 1024 - 2048 - 512, 1024, 2048]);
    assert_eq!(
        mib("[[lwk]]\nmemory = \"1/2\"\n[[lwk]]\nmemory = \"1/2\"", Bytes::gib(8)),
        [4096; 2]
    );
}

/// `cores = ...`, or nothing.
fn choice() -> impl Strategy<Value = String> {
    let set = collection::btree_set(0_u32..6, 1..4);
    prop_oneof![
        Just(String::new()),
        Just("cores = \"auto\"".to_owned()),
        Just("cores = \"rest\"".to_owned()),
        set.prop_map(|cores| format!("cores = {:?}", cores.into_iter().collect::<Vec<_>>())),
    ]
}

proptest! {
    /// Whatever is asked for, everybody has a core that may be used, and nobody one of another but where the file allows it.
    #[test]
    fn cores_have_one_owner(
        count in 1_u32..8,
        isolated in collection::btree_set(0_u32..8, 0..4),
        service in choice(),
        lwks in collection::vec(choice(), 1..5),
        oversubscribe in any::<bool>(),
    ) {
        let mut host = host(count);
        let isolated: CoreSet = isolated.into_iter().map(CoreId).collect();
        host.cores.isolated = isolated.intersection(&host.cores.usable);
        let lwks: String = lwks.iter().map(|lwk| format!("[[lwk]]\n{lwk}\n")).collect();
        let text = format!("[node]\noversubscribe = {oversubscribe}\n[service]\n{service}\n{lwks}");
        let Ok(partition) = resolve(&node(&text), &host) else { return Ok(()) };
        let lwks = partition.lwks.iter().map(|lwk| lwk.cores.iter().copied().collect());
        let all: Vec<CoreSet> = [partition.service.cores.clone()].into_iter().chain(lwks).collect();
        for (number, cores) in all.iter().enumerate() {
            prop_assert!(!cores.is_empty(), "{text}");
            prop_assert!(cores.difference(&host.cores.usable).is_empty(), "{text}");
            let shared = all[..number].iter().any(|other| !other.intersection(cores).is_empty());
            prop_assert!(oversubscribe || !shared, "{text}: {all:?}");
            prop_assert!(!shared || notes(&partition).contains("void"), "{text}");
        }
    }

    /// A host with enough cores always has one for everybody who names none.
    #[test]
    fn enough_cores_are_enough(lwks in 1_u32..7, more in 0_u32..3, rest in option::of(0_u32..7)) {
        let lwk = |i| if rest == Some(i) { "[[lwk]]\ncores = \"rest\"\n" } else { "[[lwk]]\n" };
        let text: String = (0..lwks).map(lwk).collect();
        prop_assert!(resolve(&node(&text), &host(1 + lwks + more)).is_ok(), "{text}");
    }

    /// All together never get more memory than there is.
    #[test]
    fn memory_is_given_once(
        available in 0_u64..1 << 34,
        lwks in collection::vec(prop_oneof![
            Just("auto".to_owned()), Just("rest".to_owned()),
            (1_u32..9).prop_map(|n| format!("1/{n}")), (1_u32..4096).prop_map(|n| format!("{n}M")),
        ], 1..5),
    ) {
        let host = Resources { available: Bytes(available), ..host(8) };
        let lwks = lwks.iter().map(|memory| format!("[[lwk]]\nstack = \"2M\"\nmemory = \"{memory}\"\n"));
        if let Ok(partition) = resolve(&node(&lwks.collect::<String>()), &host) {
            let sum: u64 = partition.lwks.iter().map(|lwk| lwk.memory.0).sum();
            prop_assert!(sum <= available);
        }
    }
}
