//! The service VM's disk: written back when the node goes down, the root when it holds a system, and spared when it is to be.

use margay_tests::{Nodes, busybox};

use super::{LWKS, assert_prints, exec_service, node};

/// Makes a system of the initramfs's files on the empty disk.
const INSTALL: &str = "mkdir -p /mnt && mount -t ext2 /dev/vda /mnt && cp -a /bin /etc /mnt/ && cd /mnt \
                       && mkdir dev proc sys run tmp home && cd / \
                       && echo written > /mnt/etc/motd && umount /mnt && mount -t ext2 /dev/vda /mnt \
                       && echo unwritten > /mnt/etc/issue";

#[test]
fn from_empty_to_root() {
    let nodes = Nodes::none();
    let made = nodes.shell("truncate -s 32M disk && mke2fs -F disk > /dev/null");
    assert_eq!(made.status, 0, "{made:?}");
    nodes.up("node", &node("disk = \"disk\""));
    assert_prints(&exec_service(&nodes, INSTALL), "");
    assert_eq!(nodes.run(["down"]).status, 0);
    nodes.assert_nothing_left();

    // What was written last, just before the node went down, is there.
    nodes.up("node", &node("disk = { path = \"disk\", read_only = true }"));
    let seen = exec_service(&nodes, "cat /etc/motd /etc/issue; grep -c ' / ext' /proc/mounts");
    assert_prints(&seen, "written\nunwritten\n1\n");
    exec_service(&nodes, "echo no > /etc/motd").assert_error(1, &["Read-only file system"]);
    for lwk in LWKS {
        assert_prints(&nodes.exec(lwk, busybox(), &["cat", "/etc/motd"]), "written\n");
        let refused = nodes.exec(lwk, busybox(), &["touch", "/etc/new"]);
        refused.assert_error(1, &["Read-only file system"]);
        // What is no disk is a program's to write.
        assert_eq!(nodes.exec(lwk, busybox(), &["touch", "/tmp/new"]).status, 0);
    }
    nodes.down();
}
