//! Node files on hosts that do not exist.

mod sharing;
mod vm;

use std::collections::BTreeMap;
use std::path::PathBuf;

use margay_abi::boot::Isolation;

use super::{KvmState, Partition, Resources, resolve};
use crate::config::{NodeConfig, Source};
use crate::host::CoreFacts;
use crate::host::probe::{Cpl0, Engine};
use crate::units::{Bytes, CoreSet};

const HARDWARE: Cpl0 =
    Cpl0 { engine: Engine::Hardware, ns_per_instruction: 0.4, syscall_enters: true };
const EMULATED: Cpl0 =
    Cpl0 { engine: Engine::Emulated, ns_per_instruction: 1012.0, syscall_enters: false };

/// `cores` cores, 8 GiB available, emulated CPL 0.
fn host(cores: u32) -> Resources {
    let all: CoreSet = (0..cores).map(crate::units::CoreId).collect();
    Resources {
        cores: CoreFacts {
            present: all.clone(),
            online: all.clone(),
            usable: all,
            ..CoreFacts::default()
        },
        available: Bytes::gib(8),
        large_pages: Some(true),
        kvm: KvmState::Probed(EMULATED),
        install: PathBuf::from("/opt/margay"),
        file_faults: BTreeMap::new(),
        tap_fault: None,
    }
}

/// The same on a machine with hardware virtualization.
fn hardware(cores: u32) -> Resources {
    Resources { kvm: KvmState::Probed(HARDWARE), ..host(cores) }
}

fn node(text: &str) -> NodeConfig {
    let source = Source { path: PathBuf::from("node.toml"), text: text.to_owned() };
    NodeConfig::parse(source).unwrap_or_else(|error| panic!("{error}"))
}

fn on(host: &Resources, text: &str) -> Partition {
    let node = node(text);
    resolve(&node, host).unwrap_or_else(|mistakes| panic!("{}", node.mistaken(mistakes)))
}

/// All mistakes as `line message (hint)`.
fn mistakes(host: &Resources, text: &str) -> Vec<String> {
    let node = node(text);
    let error = node.mistaken(resolve(&node, host).expect_err("the host cannot give this"));
    let show = |record: crate::config::MistakeRecord| {
        let line = record.line.map_or(String::new(), |line| format!("{line} "));
        format!("{line}{} ({})", record.message, record.hint.unwrap_or_default())
    };
    error.records().into_iter().map(show).collect()
}

#[test]
fn cores_are_shared_out() {
    // cores of the host, of [service], of [[lwk]]: what each gets.
    for (count, service, lwk, ours, theirs) in [
        (2, "\"auto\"", "\"auto\"", "0", "1"),
        (8, "\"auto\"", "\"auto\"", "0-6", "7"),
        (8, "\"auto\"", "\"rest\"", "0", "1-7"),
        (8, "\"auto\"", "[0]", "1-7", "0"),
        (8, "\"auto\"", "\"2-4\"", "0-1,5-7", "2-4"),
        (8, "[7]", "\"auto\"", "7", "6"),
        (8, "[0, 1]", "\"rest\"", "0-1", "2-7"),
        (8, "[1]", "[3, 2]", "1", "2-3"),
        (8, "\"rest\"", "\"auto\"", "0-6", "7"),
    ] {
        let text = format!("[service]\ncores = {service}\n[[lwk]]\ncores = {lwk}\n");
        let partition = on(&host(count), &text);
        let cores: CoreSet = partition.lwks[0].cores.iter().copied().collect();
        let got = (partition.service.cores.to_string(), cores.to_string());
        assert_eq!(got, (ours.to_owned(), theirs.to_owned()), "{text}");
    }
}

#[test]
fn isolated_cores_are_the_lwks() {
    let mut host = host(8);
    host.cores.isolated = CoreSet::from([2, 3]);
    let partition = on(&host, "[[lwk]]");
    assert_eq!(partition.service.cores.to_string(), "0-1,4-7");
    assert_eq!(partition.lwks[0].cores.iter().map(|c| c.0).collect::<Vec<_>>(), [3]);
    // Where every core is isolated, each still has an owner.
    host.cores.isolated = host.cores.usable.clone();
    assert_eq!(on(&host, "[[lwk]]").service.cores.to_string(), "0-6");
    // "rest" has the isolated ones too.
    host.cores.isolated = CoreSet::from([2, 3]);
    let rest = on(&host, "[service]\ncores = \"rest\"\n[[lwk]]");
    assert_eq!(rest.service.cores.to_string(), "0-2,4-7");
}

#[test]
fn memory_is_resolved_to_whole_large_pages() {
    let gib = |n| Bytes::gib(n).0;
    for (available, asked, got) in [
        (gib(8), "auto", gib(1)),
        (gib(1), "auto", gib(1) / 2),
        (gib(8), "1/2", gib(4)),
        (gib(8), "1/3", (gib(8) / 3) & !0x1f_ffff),
        (gib(8), "1/1", gib(8)),
        (gib(8), "rest", gib(8) - gib(8) / 16),
        (gib(1), "rest", gib(1) - (256 << 20)),
        (gib(8), "512M", gib(1) / 2),
        (gib(8), "33M", 34 << 20),
        (gib(8), "16M", 16 << 20),
    ] {
        let host = Resources { available: Bytes(available), ..host(2) };
        let text = format!("[[lwk]]\nmemory = \"{asked}\"\nstack = \"2M\"\n");
        assert_eq!(on(&host, &text).lwks[0].memory, Bytes(got), "{asked} of {available}");
    }
}

#[test]
fn isolation_follows_the_host() {
    let hardware = hardware(2);
    let unasked = Resources { kvm: KvmState::NotAsked, ..host(2) };
    for (host, asked, got) in [
        (&host(2), "auto", Isolation::Fused),
        (&host(2), "fused", Isolation::Fused),
        (&hardware, "auto", Isolation::Protected),
        (&hardware, "protected", Isolation::Protected),
        (&hardware, "fused", Isolation::Fused),
        (&unasked, "fused", Isolation::Fused),
    ] {
        let text = format!("[[lwk]]\nisolation = \"{asked}\"");
        assert_eq!(on(host, &text).lwks[0].isolation, got, "{asked} on {:?}", host.kvm);
    }
}

#[test]
fn each_thing_that_a_host_cannot_give_is_told() {
    let mut odd = host(4);
    odd.cores.present = CoreSet::from([0, 1, 2, 3, 4]);
    odd.cores.usable = CoreSet::from([0, 1, 2]);
    let share = "write oversubscribe = true in [node], which lets them share cores, for trying out but not for measuring";
    let table = [
        (
            host(2),
            "[[lwk]]\ncores = [5]",
            "2 there is no core 5 on this host (it has the cores 0-1)",
        ),
        (
            odd.clone(),
            "[[lwk]]\ncores = [4]",
            "2 core 4 is offline (switch it on: echo 1 | sudo tee /sys/devices/system/cpu/cpu4/online)",
        ),
        (
            odd,
            "[service]\ncores = [3]\n[[lwk]]",
            "2 core 3 is not among the cores that this process may use (its affinity or cpuset allows 0-2; ask for those, or change it (taskset, the scheduler's job options))",
        ),
        (
            host(4),
            "[service]\ncores = [1, 2]\n[[lwk]]\ncores = [2, 3]",
            &format!(
                "4 core 2 is given to both the service OS and LWK lwk0 (name it in one place only; or {share})"
            ),
        ),
        (
            host(2),
            "[[lwk]]\ncores = [0, 1]",
            &format!(
                "2 no core is left for the service OS: the LWKs have 0-1, and that is all there is (leave at least one core out of the LWKs' `cores`; or {share})"
            ),
        ),
        (
            host(2),
            "[service]\ncores = \"0-1\"\n[[lwk]]",
            &format!(
                "3 no core is left for LWK lwk0: the others have 0-1, and that is all there is (leave at least one core out of the others' `cores`; or {share})"
            ),
        ),
        (
            host(1),
            "[[lwk]]",
            &format!(
                "too few cores: one for the service OS and one for each LWK make 2, but this process may use 1 (give this machine (or this job's cpuset) more cores; or {share})"
            ),
        ),
        (
            host(2),
            "[[lwk]]\nmemory = \"1T\"",
            "2 1 TiB of memory for LWK lwk0 is more than the 8 GiB that are available (write at most \"8192M\", a fraction as \"1/2\", or \"rest\")",
        ),
        (
            host(2),
            "[[lwk]]\nmemory = \"4M\"",
            "2 4 MiB of memory for LWK lwk0 is less than an LWK needs, 16 MiB (write \"16M\" or more; where that is not left, give others less: 8 GiB are available for all)",
        ),
        (
            host(2),
            "[[lwk]]\nmemory = \"1/8192\"",
            "2 0 B of memory for LWK lwk0 is less than an LWK needs, 16 MiB (write \"16M\" or more; where that is not left, give others less: 8 GiB are available for all)",
        ),
        (
            host(2),
            "[[lwk]]\nmemory = \"64M\"\nstack = \"64M\"",
            "3 a stack of 64 MiB does not fit into 64 MiB of memory, of which the LWK keeps 8 MiB (write a smaller `stack` or a larger `memory`)",
        ),
        (
            host(2),
            "[[lwk]]\nisolation = \"protected\"",
            "2 isolation cannot be \"protected\" on this host: CPL 0 is emulated in software, 1012 ns an instruction, and syscall does not enter it (write isolation = \"fused\" or \"auto\"; `margay host` shows what was measured)",
        ),
        (
            Resources { large_pages: Some(false), ..host(2) },
            "[[lwk]]\npages = \"2M\"",
            "2 this host cannot back guest memory with 2 MiB pages (write pages = \"auto\" or \"4K\"; `margay host` shows why)",
        ),
        (
            Resources {
                kvm: KvmState::Unusable {
                    reason: "there is no /dev/kvm".to_owned(),
                    hint: Some("load it".to_owned()),
                },
                ..host(2)
            },
            "[[lwk]]",
            "no LWK can run here: there is no /dev/kvm (load it)",
        ),
    ];
    for (host, text, expected) in table {
        assert_eq!(mistakes(&host, text), [expected], "in {text:?}");
    }
}

#[test]
fn all_mistakes_are_found_in_one_pass() {
    let text = "[service]\ncores = [9]\n[[lwk]]\nisolation = \"protected\"\nmemory = \"1T\"\ncores = [8]\n";
    let lines: Vec<_> = mistakes(&host(2), text).iter().map(|m| m[..2].to_owned()).collect();
    assert_eq!(lines, ["2 ", "4 ", "5 ", "6 "]);
}

#[test]
fn what_one_might_wonder_about_is_noted() {
    let notes = |host: &Resources, text: &str| {
        on(host, text).notes.into_iter().map(|note| note.0).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(notes(&host(2), "[[lwk]]"), "");
    let mut smt = host(4);
    smt.cores.smt_siblings = vec![CoreSet::from([0, 2]), CoreSet::from([1, 3])];
    assert!(
        notes(&smt, "[[lwk]]")
            .contains("core 3 of LWK lwk0 shares a physical core with 1 of the service OS")
    );
    let two = notes(&smt, "[service]\ncores = [0]\n[[lwk]]\ncores = [1]\n[[lwk]]\ncores = [3]\n");
    assert!(two.contains("core 3 of LWK lwk1 shares a physical core with 1 of LWK lwk0"), "{two}");
    assert_eq!(two.matches("shares").count(), 1, "{two}");
    let small = Resources { large_pages: Some(false), ..host(2) };
    assert!(notes(&small, "[[lwk]]").contains("4 KiB pages"));
    assert_eq!(notes(&small, "[[lwk]]\npages = \"4K\""), "");
    assert!(notes(&host(4), "[[lwk]]\ncores = [2, 3]").contains("runs on core 2"));
    assert!(notes(&host(2), "[[lwk]]\nmemory = \"33M\"").contains("became 34 MiB"));
    assert!(notes(&host(2), "[[lwk]]\nstack = \"100K\"").contains("became 2 MiB"));
}
