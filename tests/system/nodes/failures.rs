//! A node that cannot come up says why, and leaves nothing.

use margay_tests::{Mode, NodeFile, Nodes};

use super::{FAILED, USAGE, waiting};

#[test]
fn mistakes_in_the_file() {
    let nodes = Nodes::none();
    let bad = [
        ("[[lwk]]\nmemroy = \"1G\"\n", ["node.toml:2", "memory"]),
        ("[[lwk]]\nmemory = \"900T\"\n", ["node.toml:2", "900"]),
        ("[[lwk]]\nimage = \"no-image\"\n", ["node.toml:2", "no-image"]),
        ("[[lwk]]\ncores = [4000]\n", ["node.toml:2", "4000"]),
    ];
    for (text, words) in bad {
        let outcome = nodes.try_up("node", text);
        outcome.assert_error(USAGE, &words);
        assert_eq!(outcome.stderr_text().matches("node.toml:2").count(), 1, "once: {outcome:?}");
        nodes.assert_nothing_left();
    }
    nodes.run(["up", "/no/such/node.toml"]).assert_error(USAGE, &["/no/such/node.toml"]);
    nodes.assert_nothing_left();
}

#[test]
fn an_image_that_is_none() {
    let nodes = Nodes::none();
    nodes.file("garbage", b"this is no kernel, whatever its name may say it were");
    let text = NodeFile::text(&Mode::first(), &[("a", ""), ("b", "image = \"garbage\"")]);
    let outcome = nodes.try_up("node", &text);
    outcome.assert_error(FAILED, &["b has failed"]);
    nodes.assert_nothing_left();
}

#[test]
fn no_folder_for_the_socket() {
    let nodes = Nodes::none();
    let text = NodeFile::text(&Mode::first(), &[("lwk0", "")]);
    let file = nodes.file("node.toml", text.as_bytes());
    let mut command = nodes.command(margay_tests::margay());
    command.arg("up").arg(file).env("XDG_RUNTIME_DIR", "/no/such/folder");
    nodes.run_command(&mut command).assert_error(FAILED, &["/no/such/folder", "XDG_RUNTIME_DIR"]);
    nodes.assert_nothing_left();
}

#[test]
fn a_second_node_of_the_same_name() {
    let text = NodeFile::text(&Mode::first(), &[("lwk0", "")]);
    let nodes = Nodes::with(&text);
    let mut running = waiting(&nodes, "lwk0", "read");
    nodes.try_up("node", &text).assert_error(FAILED, &["node node is up already", "margay down"]);
    assert_eq!(nodes.state("lwk0"), "running");
    running.write_and_close(b"on".to_vec());
    super::assert_prints(&running.finish(), "ready\nread 2 bytes, then the end\n");
    nodes.down();
}
