//! Every mistake that a node file can have by itself: its place, its message, its hint.

use std::path::PathBuf;
use std::time::Duration;

use margay_abi::boot::Delegation;
use proptest::prelude::{prop_assert, proptest};

use super::{
    CoreChoice, IsolationChoice, MemoryChoice, NodeConfig, NodeFileError, PageChoice, Source,
};
use crate::units::{Bytes, CoreSet};

fn parse(text: &str) -> Result<NodeConfig, NodeFileError> {
    NodeConfig::parse(Source { path: PathBuf::from("node.toml"), text: text.to_owned() })
}

/// All mistakes as `line:column message (hint)`.
fn mistakes(text: &str) -> Vec<String> {
    let error = parse(text).expect_err("the file has a mistake");
    let show = |record: super::mistake::MistakeRecord| {
        let place = record.line.zip(record.column);
        let place = place.map_or(String::new(), |(line, column)| format!("{line}:{column} "));
        let hint = record.hint.map_or(String::new(), |hint| format!(" ({hint})"));
        format!("{place}{}{hint}", record.message)
    };
    error.records().into_iter().map(show).collect()
}

#[test]
fn an_empty_lwk_has_defaults() {
    let node = parse("[[lwk]]\n").unwrap();
    assert_eq!(node.service.cores.value, CoreChoice::Auto);
    assert_eq!(node.service.spin, Duration::from_micros(200));
    assert_eq!(node.lwk.name, "lwk0");
    assert_eq!(node.lwk.cores.value, CoreChoice::Auto);
    assert_eq!(node.lwk.memory.value, MemoryChoice::Auto);
    assert_eq!(node.lwk.pages.value, PageChoice::Auto);
    assert_eq!(node.lwk.isolation.value, IsolationChoice::Auto);
    assert_eq!(node.lwk.delegation, Delegation::Queue);
    assert_eq!(node.lwk.stack.value, Bytes::mib(8));
    assert_eq!(node.lwk.program, None);
    assert!(node.lwk.args.is_empty() && node.lwk.env.is_empty());
}

#[test]
fn every_key_is_read() {
    let node = parse(
        r#"
        [service]
        kind = "host"
        cores = [0, 2]
        spin_us = 0
        [[lwk]]
        name = "solver-1"
        cores = "3-4,6"
        memory = "1/2"
        pages = "2M"
        isolation = "fused"
        delegation = "hypercall"
        stack = "16MiB"
        program = "bin/solve"
        args = ["-n", ""]
        env = { OMP_NUM_THREADS = "1", EMPTY = "" }
        "#,
    )
    .unwrap();
    assert_eq!(node.service.cores.value, CoreChoice::Set(CoreSet::from([0, 2])));
    assert_eq!(node.service.spin, Duration::ZERO);
    assert_eq!(node.lwk.name, "solver-1");
    assert_eq!(node.lwk.cores.value, CoreChoice::Set(CoreSet::from([3, 4, 6])));
    assert!(matches!(node.lwk.memory.value, MemoryChoice::Part(half) if half.to_string() == "1/2"));
    assert_eq!(node.lwk.pages.value, PageChoice::Large);
    assert_eq!(node.lwk.isolation.value, IsolationChoice::Fused);
    assert_eq!(node.lwk.delegation, Delegation::Hypercall);
    assert_eq!(node.lwk.stack.value, Bytes::mib(16));
    assert_eq!(node.lwk.program.unwrap().value, PathBuf::from("bin/solve"));
    assert_eq!(node.lwk.args, ["-n", ""]);
    let env = [("OMP_NUM_THREADS", "1"), ("EMPTY", "")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert!(env.iter().all(|variable| node.lwk.env.contains(variable)) && node.lwk.env.len() == 2);
}

#[test]
fn each_mistake_has_its_place_and_hint() {
    let cores =
        "write a list, as [1, 2] or \"1-3,5\"; or \"auto\"; an LWK can also have the \"rest\"";
    let memory =
        "write a whole number and a unit, as \"512M\" or \"1GiB\" (K, M, G, T; all are binary)";
    let table: &[(&str, String)] = &[
        ("", "the node has no lightweight kernel (add a line [[lwk]]; every key of it has a default)".into()),
        ("lwk = []", "1:7 the node has no lightweight kernel (add a line [[lwk]]; every key of it has a default)".into()),
        ("[lwk]", "1:1 `lwk` is a single table, but must be an array of tables (write [[lwk]], with two brackets on each side)".into()),
        ("[[lwk]]\n[[lwk]]", "2:1 this version runs one `[[lwk]]` for each node file; this is number 2".into()),
        ("[[lwk]]\nmemroy = \"1G\"", "2:1 unknown key `memroy` in [[lwk]] (did you mean `memory`?)".into()),
        ("[[lwk]]\n[servce]", "2:2 unknown key `servce` in the node file (did you mean `service`?)".into()),
        ("[[lwk]]\n[service]\nthreads = 1", "3:1 unknown key `threads` in [service] (the keys here are kind, cores, spin_us)".into()),
        ("service = 1\n[[lwk]]", "1:11 `service` is a whole number, but must be a table (write [service] on a line of its own)".into()),
        ("[[lwk]]\n[service]\nkind = \"vm\"", "3:8 a service OS in a VM (`kind = \"vm\"`) is not supported in this version (write kind = \"host\" (or leave it out): this host's Linux serves the calls)".into()),
        ("[[lwk]]\n[service]\nkind = \"linux\"", "3:8 `kind` cannot be \"linux\" (write one of \"host\", \"vm\")".into()),
        ("[[lwk]]\n[service]\nspin_us = -1", "3:11 `spin_us` is -1, but must be between 0 and 60000000 (write a number in that range)".into()),
        ("[[lwk]]\n[service]\nspin_us = \"1\"", "3:11 `spin_us` is text, but must be a whole number (write it without quotes and unit)".into()),
        ("[[lwk]]\ncores = 1", "2:9 `cores` is a whole number, but must be a list (write [0, 1], \"0-1\" or \"auto\")".into()),
        ("[[lwk]]\ncores = []", format!("2:9 `cores` is empty: every partition has at least one core ({cores})")),
        ("[[lwk]]\ncores = \"\"", format!("2:9 `cores` is empty: every partition has at least one core ({cores})")),
        ("[[lwk]]\ncores = \"all\"", format!("2:9 `cores` is no list of cores: a list of cores is numbers and ranges with commas between ({cores})")),
        ("[[lwk]]\ncores = [1, 2, 1]", format!("2:9 `cores` is no list of cores: core 1 is named twice ({cores})")),
        ("[[lwk]]\ncores = [-1]", "2:9 `cores` is -1, but must be between 0 and 8191 (write a number in that range)".into()),
        ("[[lwk]]\nmemory = 512", "2:10 `memory` is a whole number, but must be text in quotes (write the amount with its unit, as \"64M\")".into()),
        ("[[lwk]]\nmemory = \"lots\"", format!("2:10 `memory` is no amount of memory: an amount of memory begins with a whole number ({memory})")),
        ("[[lwk]]\nmemory = \"1.5G\"", format!("2:10 `memory` is no amount of memory: the number is followed by no known unit ({memory})")),
        ("[[lwk]]\nmemory = \"3/2\"", "2:10 `memory` is no fraction of the memory: a fraction is more than 0 and at most 1 (write a fraction of what is available, as \"1/2\")".into()),
        ("[[lwk]]\npages = \"1G\"", "2:9 `pages` cannot be \"1G\" (write one of \"auto\", \"2M\", \"4K\")".into()),
        ("[[lwk]]\nisolation = \"none\"", "2:13 `isolation` cannot be \"none\" (write one of \"auto\", \"protected\", \"fused\")".into()),
        ("[[lwk]]\ndelegation = 3", "2:14 `delegation` cannot be \"integer\" (write one of \"queue\", \"hypercall\")".into()),
        ("[[lwk]]\nstack = \"big\"", format!("2:9 `stack` is no amount of memory: an amount of memory begins with a whole number ({memory})")),
        ("[[lwk]]\nname = \"a b\"", "2:8 `name` must be 1 to 32 letters, digits, `-` or `_` (write a name as name = \"solver-1\")".into()),
        ("[[lwk]]\nprogram = \"\"", "2:11 `program` is empty (write a path or a name in PATH, or leave it out and give one with `margay run FILE -- PROGRAM`)".into()),
        ("[[lwk]]\nprogram = \"a\\u0000b\"", "2:11 `program` has a NUL character; a program's strings end at the first one".into()),
        ("[[lwk]]\nargs = \"-n 1\"", "2:8 `args` is text, but must be a list of texts (write args = [\"one\", \"two\"])".into()),
        ("[[lwk]]\nargs = [\"-n\", 1]", "2:15 `an argument` is a whole number, but must be text in quotes (write args = [\"one\", \"two\"])".into()),
        ("[[lwk]]\nenv = [\"A=1\"]", "2:7 `env` is a list, but must be a table of texts (write env = { NAME = \"value\" })".into()),
        ("[[lwk]]\nenv = { A = 1 }", "2:13 `A` is a whole number, but must be text in quotes (write env = { NAME = \"value\" })".into()),
        ("[[lwk]]\nenv = { \"A=B\" = \"\" }", "2:9 `A=B` cannot be the name of an environment variable: it is empty or has a `=`".into()),
    ];
    for (text, expected) in table {
        assert_eq!(mistakes(text), [expected.as_str()], "in {text:?}");
    }
}

#[test]
fn syntax_errors_have_their_place() {
    for (text, place) in [
        ("[[lwk]\n", "1:"),
        ("[[lwk]]\nmemory = 512M\n", "2:"),
        ("[[lwk]]\nname = \"a\"\nname = \"b\"\n", "3:1 "),
        ("[[lwk]]\nname = \"a\n", "2:"),
    ] {
        let found = mistakes(text);
        assert!(found[0].starts_with(place), "{text:?}: {found:?}");
        assert!(found[0].contains("this is not TOML: "), "{text:?}: {found:?}");
    }
}

#[test]
fn all_mistakes_are_found_in_one_pass_in_the_order_of_the_file() {
    let text = "[service]\nkind = \"vm\"\n[[lwk]]\nstack = 1\ncores = []\nmemroy = \"1G\"\n";
    let lines: Vec<_> = mistakes(text).iter().map(|m| m[..2].to_owned()).collect();
    assert_eq!(lines, ["2:", "4:", "5:", "6:"]);
}

#[test]
fn a_mistake_is_drawn_under_its_line() {
    let text = "# é\n[[lwk]]\n\tmemroy = \"1G\" # half\n";
    let expected = "\
error: unknown key `memroy` in [[lwk]]
 --> node.toml:3:2
  |
3 | \tmemroy = \"1G\" # half
  | \t^^^^^^
  = help: did you mean `memory`?

node.toml: 1 mistake";
    assert_eq!(parse(text).unwrap_err().to_string(), expected);
}

#[test]
fn a_missing_file_is_named() {
    let error = NodeConfig::load("does/not/exist.toml".as_ref()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read the node file does/not/exist.toml");
}

#[test]
fn the_example_nodes_are_right() {
    let nodes = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../images/nodes");
    let hello = NodeConfig::load(&nodes.join("hello.toml")).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(hello.lwk.program.unwrap().value, PathBuf::from("/bin/busybox"));
    assert_eq!(hello.lwk.args, ["echo", "Hello from the lightweight kernel"]);
    assert_eq!(hello.lwk.cores.value, CoreChoice::Auto);
    NodeConfig::load(&nodes.join("example.toml")).unwrap_or_else(|e| panic!("{e}"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in "(\\[\\[?(lwk|service)\\]?\\]|[a-z]+|[= \"\n\t{}\\[\\],.0-9é#-])*") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.to_string().contains("error: "));
        }
    }
}
