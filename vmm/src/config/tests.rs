//! Every mistake that a node file can have by itself: its place, its message, its hint.

use std::path::PathBuf;
use std::time::Duration;

use margay_abi::boot::Delegation;
use proptest::prelude::{prop_assert, proptest};

use super::{
    CoreChoice, DiskConfig, IsolationChoice, MemoryChoice, NodeConfig, NodeFileError, PageChoice,
    ServiceChoice, ServiceVmConfig, Source,
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
    assert_eq!((node.name.as_str(), node.oversubscribe, node.socket_mode), ("node", false, 0o600));
    assert_eq!(node.service.kind, ServiceChoice::Host);
    assert_eq!(node.lwks.len(), 1);
    assert_eq!(node.lwks[0].name.value, "lwk0");
    assert_eq!(node.lwks[0].image, None);
    assert_eq!(node.lwks[0].watch, Some(Duration::from_secs(5)));
    assert_eq!(node.lwks[0].cores.value, CoreChoice::Auto);
    assert_eq!(node.lwks[0].memory.value, MemoryChoice::Auto);
    assert_eq!(node.lwks[0].pages.value, PageChoice::Auto);
    assert_eq!(node.lwks[0].isolation.value, IsolationChoice::Auto);
    assert_eq!(node.lwks[0].delegation, Delegation::Queue);
    assert_eq!(node.lwks[0].stack.value, Bytes::mib(8));
    assert_eq!(node.lwks[0].program, None);
    assert!(node.lwks[0].args.is_empty() && node.lwks[0].env.is_empty());
}

#[test]
fn every_key_is_read() {
    let mut node = parse(
        r#"
        [node]
        name = "cluster_7"
        oversubscribe = true
        socket_mode = "0660"
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
        image = "images/lwk"
        watch_s = 0
        "#,
    )
    .unwrap();
    assert_eq!(node.service.cores.value, CoreChoice::Set(CoreSet::from([0, 2])));
    assert_eq!(node.service.spin, Duration::ZERO);
    assert_eq!(node.lwks[0].name.value, "solver-1");
    assert_eq!(node.lwks[0].cores.value, CoreChoice::Set(CoreSet::from([3, 4, 6])));
    assert!(
        matches!(node.lwks[0].memory.value, MemoryChoice::Part(half) if half.to_string() == "1/2")
    );
    assert_eq!(node.lwks[0].pages.value, PageChoice::Large);
    assert_eq!(node.lwks[0].isolation.value, IsolationChoice::Fused);
    assert_eq!(node.lwks[0].delegation, Delegation::Hypercall);
    assert_eq!(node.lwks[0].stack.value, Bytes::mib(16));
    assert_eq!(
        (node.name.as_str(), node.oversubscribe, node.socket_mode),
        ("cluster_7", true, 0o660)
    );
    assert_eq!(node.lwks[0].program.take().unwrap().value, PathBuf::from("bin/solve"));
    assert_eq!(node.lwks[0].image.take().unwrap().value, PathBuf::from("images/lwk"));
    assert_eq!(node.lwks[0].watch, None);
    assert_eq!(node.lwks[0].args, ["-n", ""]);
    let env = [("OMP_NUM_THREADS", "1"), ("EMPTY", "")];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert!(
        env.iter().all(|variable| node.lwks[0].env.contains(variable))
            && node.lwks[0].env.len() == 2
    );
}

#[test]
fn each_mistake_has_its_place_and_hint() {
    let cores =
        "write a list, as [1, 2] or \"1-3,5\"; or \"auto\"; one of the node can have the \"rest\"";
    let memory =
        "write a whole number and a unit, as \"512M\" or \"1GiB\" (K, M, G, T; all are binary)";
    let name = "give it another name; without `name`, LWKs are lwk0, lwk1 and so on by position";
    let mode = "write it as for chmod: socket_mode = \"0600\"";
    let only_vm = "is for a service OS in a VM, but here this host's Linux is the service OS (write kind = \"vm\" in [service], or leave this key out)";
    let table: &[(&str, String)] = &[
        ("", "the node has no lightweight kernel (add a line [[lwk]]; every key of it has a default)".into()),
        ("lwk = []", "1:7 the node has no lightweight kernel (add a line [[lwk]]; every key of it has a default)".into()),
        ("[lwk]", "1:1 `lwk` is a single table, but must be an array of tables (write [[lwk]], with two brackets on each side)".into()),
        ("[[lwk]]\nname = \"a\"\n[[lwk]]\nname = \"a\"", format!("4:8 the name \"a\" is taken by the LWK of line 2 ({name})")),
        ("[[lwk]]\nname = \"lwk1\"\n[[lwk]]", format!("3:1 the name \"lwk1\" is taken by the LWK of line 2 ({name})")),
        ("[[lwk]]\n[[lwk]]\nname = \"lwk0\"", format!("3:8 the name \"lwk0\" is taken by the LWK of line 1 ({name})")),
        ("[[lwk]]\nname = \"service\"", format!("2:8 an LWK cannot have the name \"service\": commands mean the service OS by it ({name})")),
        ("[[lwk]]\nwatch_s = 3601", "2:11 `watch_s` is 3601, but must be between 0 and 3600 (write a number in that range)".into()),
        ("[[lwk]]\nimage = \"\"", "2:9 `image` is empty (write a path, which may be relative to the node file's directory)".into()),
        ("node = 1\n[[lwk]]", "1:8 `node` is a whole number, but must be a table (write [node] on a line of its own)".into()),
        ("[[lwk]]\n[node]\nname = \"a/b\"", "3:8 `name` must be 1 to 32 letters, digits, `-` or `_` (write a name as name = \"solver-1\")".into()),
        ("[[lwk]]\n[node]\noversubscribe = \"yes\"", "3:17 `oversubscribe` is text, but must be true or false (write it without quotes)".into()),
        ("[[lwk]]\n[node]\nsocket_mode = 600", "3:15 `socket_mode` is a whole number, but must be text in quotes (write it in quotes, as socket_mode = \"0600\")".into()),
        ("[[lwk]]\n[node]\nsocket_mode = \"0680\"", format!("3:15 `socket_mode` cannot be \"0680\": permissions are octal, from 0 to 0777 ({mode})")),
        ("[[lwk]]\n[node]\nsocket_mode = \"+7\"", format!("3:15 `socket_mode` cannot be \"+7\": permissions are octal, from 0 to 0777 ({mode})")),
        ("[[lwk]]\n[node]\nsocket_mode = \"1000\"", format!("3:15 `socket_mode` cannot be \"1000\": permissions are octal, from 0 to 0777 ({mode})")),
        ("[[lwk]]\nmemroy = \"1G\"", "2:1 unknown key `memroy` in [[lwk]] (did you mean `memory`?)".into()),
        ("[[lwk]]\n[servce]", "2:2 unknown key `servce` in the node file (did you mean `service`?)".into()),
        ("[[lwk]]\n[service]\nthreads = 1", "3:1 unknown key `threads` in [service] (the keys here are kind, cores, spin_us, memory, pages, kernel, initramfs, cmdline, disk, net, files, boot_s)".into()),
        ("service = 1\n[[lwk]]", "1:11 `service` is a whole number, but must be a table (write [service] on a line of its own)".into()),
        ("[[lwk]]\n[service]\nkernel = \"vmlinuz\"", format!("3:10 `kernel` {only_vm}")),
        ("[[lwk]]\n[service]\nkind = \"host\"\nboot_s = 1", format!("4:10 `boot_s` {only_vm}")),
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

/// What `[service]` with `kind = "vm"` and these lines becomes.
fn vm(lines: &str) -> ServiceVmConfig {
    let text = format!("[service]\nkind = \"vm\"\n{lines}\n[[lwk]]\n");
    match parse(&text).unwrap_or_else(|error| panic!("{error}")).service.kind {
        ServiceChoice::Vm(vm) => *vm,
        ServiceChoice::Host => panic!("kind was not read"),
    }
}

#[test]
fn a_service_vm_has_defaults() {
    let vm = vm("");
    assert_eq!(vm.kind, 17..21);
    assert_eq!(vm.memory.value, MemoryChoice::Size(Bytes::mib(512)));
    assert_eq!(vm.pages.value, PageChoice::Auto);
    assert_eq!((vm.kernel, vm.initramfs, vm.disk, vm.net), (None, None, None, None));
    assert!(vm.files.is_empty() && vm.cmdline.is_empty());
    assert_eq!(vm.boot_deadline, Duration::from_secs(60));
}

#[test]
fn every_key_of_a_service_vm_is_read() {
    let all = vm(r#"
        memory = "1/4"
        pages = "4K"
        kernel = "vmlinuz"
        initramfs = ["base.cpio", "/more.cpio"]
        cmdline = "quiet loglevel=3"
        disk = { path = "root.img", read_only = true }
        net = "tap0"
        files = ["/etc/hosts"]
        boot_s = 3600
        "#);
    assert!(matches!(all.memory.value, MemoryChoice::Part(_)));
    assert_eq!(all.pages.value, PageChoice::Small);
    assert_eq!(all.kernel.unwrap().value, PathBuf::from("vmlinuz"));
    let initramfs: Vec<_> = all.initramfs.unwrap().into_iter().map(|at| at.value).collect();
    assert_eq!(initramfs, ["base.cpio", "/more.cpio"].map(PathBuf::from));
    assert_eq!(all.cmdline, "quiet loglevel=3");
    let disk = DiskConfig { path: PathBuf::from("root.img"), read_only: true };
    assert_eq!(all.disk.unwrap().value, disk);
    assert_eq!(all.net.unwrap().value, "tap0");
    assert_eq!(all.files[0].value, PathBuf::from("/etc/hosts"));
    assert_eq!(all.boot_deadline, Duration::from_secs(3600));
    // The short forms.
    assert!(!vm("disk = \"root.img\"").disk.unwrap().value.read_only);
    assert_eq!(vm("initramfs = \"one\"").initramfs.unwrap().len(), 1);
    assert_eq!(vm("initramfs = []").initramfs.unwrap().len(), 0);
}

#[test]
fn each_mistake_in_a_service_vm_has_its_place_and_hint() {
    let disk = "write disk = \"root.img\", or disk = { path = \"root.img\", read_only = true }";
    let net = "1:7 `net` must be the name of a network device: 1 to 15 characters, without `/`, `:` and spaces (write the name of a tap device, as net = \"tap0\")";
    let cmdline =
        "1:11 `cmdline` must be one line of at most 1536 bytes without control characters";
    let empty = "is empty (write a path, which may be relative to the node file's directory)";
    let long = format!("cmdline = \"{}\"", "x".repeat(1537));
    let table: &[(&str, String)] = &[
        ("memory = \"lots\"", "1:10 `memory` is no amount of memory: an amount of memory begins with a whole number (write a whole number and a unit, as \"512M\" or \"1GiB\" (K, M, G, T; all are binary))".into()),
        ("kernel = \"\"", format!("1:10 `kernel` {empty}")),
        ("initramfs = 1", "1:13 `initramfs` is a whole number, but must be text in quotes (write initramfs = \"initrd.img\", or several in a list)".into()),
        ("initramfs = [\"a\", \"\"]", format!("1:19 `initramfs` {empty}")),
        ("disk = true", format!("1:8 `disk` is a truth value, but must be text in quotes ({disk})")),
        ("disk = { read_only = true }", "1:8 `disk` does not say which file: it has no `path` (write disk = { path = \"root.img\", read_only = true })".into()),
        ("disk = { path = \"a\", readonly = true }", "1:22 unknown key `readonly` in `disk` (did you mean `read_only`?)".into()),
        ("net = \"\"", net.into()),
        ("net = \"a/b\"", net.into()),
        ("net = \"0123456789abcdef\"", net.into()),
        ("cmdline = \"a\\nb\"", cmdline.into()),
        (&long, cmdline.into()),
        ("files = \"/etc/hosts\"", "1:9 `files` is text, but must be a list of paths (write files = [\"/etc/solver.conf\"])".into()),
        ("files = [\"/etc/../etc/hosts\"]", "1:10 a path in `files` cannot have `..`: the file gets the same path in the service VM (write the path without `..`, best an absolute one)".into()),
        ("boot_s = 0", "1:10 `boot_s` is 0, but must be between 1 and 3600 (write a number in that range)".into()),
    ];
    for (line, expected) in table {
        let text = format!("service.kind = \"vm\"\nservice.{line}\n[[lwk]]");
        // Dotted keys begin 8 columns further, on the second line.
        let expected = expected.split_once(' ').unwrap();
        let column: usize = expected.0.strip_prefix("1:").unwrap().parse().unwrap();
        let expected = format!("2:{} {}", column + 8, expected.1);
        assert_eq!(mistakes(&text), [expected], "in {text:?}");
    }
}

#[test]
fn a_node_has_at_most_64_lwks() {
    assert_eq!(parse(&"[[lwk]]\n".repeat(64)).unwrap().lwks[63].name.value, "lwk63");
    let expected = "65:1 a node has at most 64 lightweight kernels; this one has 65";
    assert_eq!(mistakes(&"[[lwk]]\n".repeat(65)), [expected]);
}

#[test]
fn a_node_is_named_after_its_file() {
    for (path, name) in [
        ("a/solver-1.toml", "solver-1"),
        ("my node é.toml", "my-node--"),
        ("", "node"),
        ("0123456789012345678901234567890123456789.toml", "01234567890123456789012345678901"),
    ] {
        let source = Source { path: PathBuf::from(path), text: "[[lwk]]".to_owned() };
        assert_eq!(NodeConfig::parse(source).unwrap().name, name);
    }
}

#[test]
fn paths_are_relative_to_the_file() {
    let source = Source { path: PathBuf::from("/etc/nodes/a.toml"), text: "[[lwk]]".to_owned() };
    let node = NodeConfig::parse(source).unwrap();
    assert_eq!(node.locate("vmlinuz".as_ref()), PathBuf::from("/etc/nodes/vmlinuz"));
    assert_eq!(node.locate("/boot/vmlinuz".as_ref()), PathBuf::from("/boot/vmlinuz"));
    assert!(parse("[[lwk]]").unwrap().locate("x".as_ref()).is_absolute());
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
    let text = "[service]\nkind = \"v\"\n[[lwk]]\nstack = 1\ncores = []\nmemroy = \"1G\"\n";
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
    assert_eq!(hello.lwks[0].program.as_ref().unwrap().value, PathBuf::from("/bin/busybox"));
    assert_eq!(hello.lwks[0].args, ["echo", "Hello from the lightweight kernel"]);
    assert_eq!(hello.lwks[0].cores.value, CoreChoice::Auto);
    let load = |name| NodeConfig::load(&nodes.join(name)).unwrap_or_else(|e| panic!("{e}"));
    load("example.toml");
    assert!(load("two.toml").oversubscribe && load("two.toml").lwks.len() == 2);
    assert!(matches!(load("vm.toml").service.kind, ServiceChoice::Vm(_)));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in "(\\[\\[?(lwk|service|node)\\]?\\]|kind = \"vm\"|disk|net|files|name|[a-z]+|[= \"\n\t{}\\[\\],.0-9é#-])*") {
        if let Err(error) = parse(&text) {
            prop_assert!(error.to_string().contains("error: "));
        }
    }
}
