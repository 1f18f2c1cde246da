//! A service OS in a VM, and how nodes are shown.

use std::path::PathBuf;

use super::{HARDWARE, hardware, host, mistakes, node, on};
use crate::config::PageChoice;
use crate::partition::record::PartitionRecord;
use crate::partition::render::render;
use crate::partition::{DiskPlan, FileUse, KvmState, Resources, ServiceKind, ServiceVmPlan};
use crate::units::{Bytes, CoreId};

const VM: &str = "[service]\nkind = \"vm\"\n";

fn vm_on(host: &Resources, text: &str) -> ServiceVmPlan {
    match on(host, text).service.kind {
        ServiceKind::Vm(vm) => *vm,
        ServiceKind::Host => panic!("no VM was planned"),
    }
}

#[test]
fn a_service_vm_is_planned() {
    let vm = vm_on(&hardware(4), &format!("{VM}cores = \"0-1\"\n[[lwk]]\n[[lwk]]\n"));
    assert_eq!(vm.cores, [CoreId(0), CoreId(1)]);
    assert_eq!((vm.memory, vm.pages), (Bytes::mib(512), PageChoice::Auto));
    assert_eq!(vm.kernel, PathBuf::from("/opt/margay/service/vmlinuz"));
    assert_eq!(vm.initramfs, [PathBuf::from("/opt/margay/service/initramfs")]);
    assert_eq!((vm.disk, vm.net), (None, None));

    let keys =
        "kernel = \"/boot/vmlinuz\"\ndisk = \"/root.img\"\nnet = \"tap0\"\nfiles = [\"/a\"]\n";
    let vm = vm_on(&hardware(2), &format!("{VM}{keys}[[lwk]]\n"));
    assert_eq!(vm.kernel, PathBuf::from("/boot/vmlinuz"));
    assert!(vm.initramfs.is_empty(), "another kernel has other modules");
    assert_eq!(vm.disk, Some(DiskPlan { path: PathBuf::from("/root.img"), read_only: false }));
    assert_eq!((vm.net.as_deref(), vm.files), (Some("tap0"), vec![PathBuf::from("/a")]));

    let own = vm_on(&hardware(2), &format!("{VM}initramfs = []\n[[lwk]]\n"));
    assert!(own.kernel.starts_with("/opt/margay") && own.initramfs.is_empty());
    let relative =
        vm_on(&hardware(2), &format!("{VM}kernel = \"k\"\ninitramfs = \"i\"\n[[lwk]]\n"));
    assert!(relative.kernel.is_absolute() && relative.kernel.ends_with("k"));
    assert!(relative.initramfs[0].ends_with("i"));
}

#[test]
fn a_service_vm_takes_memory_from_the_lwks() {
    let host = Resources { available: Bytes::gib(2), ..hardware(4) };
    let memory = |text: &str| {
        let partition = on(&host, text);
        let ServiceKind::Vm(vm) = &partition.service.kind else { panic!("no VM was planned") };
        let lwks = partition.lwks.iter().map(|lwk| lwk.memory.0 >> 20);
        [vm.memory.0 >> 20].into_iter().chain(lwks).collect::<Vec<_>>()
    };
    assert_eq!(memory(&format!("{VM}[[lwk]]\n[[lwk]]")), [512, 384, 384]);
    assert_eq!(memory(&format!("{VM}memory = \"1G\"\n[[lwk]]\nmemory = \"rest\"")), [1024, 768]);
    assert_eq!(memory(&format!("{VM}memory = \"rest\"\n[[lwk]]\nmemory = \"1G\"")), [768, 1024]);
    assert_eq!(memory(&format!("{VM}memory = \"auto\"\n[[lwk]]\nmemory = \"1G\"")), [512, 1024]);
    let found = mistakes(&host, &format!("{VM}[[lwk]]\nmemory = \"1/1\""));
    assert!(found[0].contains("the service OS has 512 MiB"), "{found:?}");
}

#[test]
fn a_service_vm_has_room_to_describe_the_lwks() {
    // 192 MiB and a 64th of 2 GiB: 224 MiB.
    let text = |memory: &str| format!("{VM}memory = \"{memory}\"\n[[lwk]]\nmemory = \"2G\"\n");
    assert_eq!(vm_on(&hardware(2), &text("224M")).memory, Bytes::mib(224));
    let expected = "3 222 MiB of memory is less than the service OS needs: 224 MiB, of which a 64th of all LWKs' memory is for Linux's page structures (write memory = \"224M\" or more in [service])";
    assert_eq!(mistakes(&hardware(2), &text("222M")), [expected]);
    let large = Resources { available: Bytes::gib(256), ..hardware(2) };
    let found = mistakes(&large, &format!("{VM}[[lwk]]\nmemory = \"128G\"\n"));
    assert!(found[0].starts_with("2 512 MiB of memory is less"), "{found:?}");
    assert!(found[0].contains("memory = \"2240M\""), "{found:?}");
}

#[test]
fn a_service_vm_needs_hardware() {
    let expected = "2 a service OS in a VM cannot run on this host: CPL 0 is emulated in software, 1012 ns an instruction, and syscall does not enter it, and a stock kernel lives there (write kind = \"host\": this Linux serves the calls; or use the virtual node, which has virtual hardware: ./x node -- margay ...)";
    assert_eq!(mistakes(&host(2), &format!("{VM}[[lwk]]")), [expected]);
    let blind = super::Cpl0 { syscall_enters: false, ..HARDWARE };
    let host = Resources { kvm: KvmState::Probed(blind), ..host(2) };
    let found = mistakes(&host, &format!("{VM}[[lwk]]\nisolation = \"fused\""));
    assert!(found[0].contains("syscall at CPL 3 does not enter CPL 0"), "{found:?}");
}

#[test]
fn files_that_cannot_be_used_are_pointed_at() {
    let mut host = hardware(2);
    let mut fault = |path: &str, file_use| {
        host.file_faults.insert((PathBuf::from(path), file_use), "it is broken".to_owned());
    };
    fault("/opt/margay/service/vmlinuz", FileUse::Read);
    fault("/opt/margay/service/initramfs", FileUse::Read);
    fault("/disk", FileUse::WritableDisk);
    fault("/kernel", FileUse::Read);
    fault("/extra", FileUse::Read);
    fault("/image", FileUse::Read);
    let own = mistakes(&host, &format!("{VM}[[lwk]]"));
    assert_eq!(own.len(), 2);
    assert!(
        own[0].starts_with(
            "2 `kernel`: cannot use /opt/margay/service/vmlinuz: it is broken (`./x images` makes"
        ),
        "{own:?}"
    );
    assert!(own[1].starts_with("2 `initramfs`: cannot use"), "{own:?}");
    let keys =
        "kernel = \"/kernel\"\ndisk = \"/disk\"\nfiles = [\"/extra\"]\n[[lwk]]\nimage = \"/image\"";
    let named = mistakes(&host, &format!("{VM}{keys}"));
    let lines: Vec<_> = named.iter().map(|mistake| mistake.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["3 `kernel`", "4 `disk`", "5 `files`", "7 `image`"]);
    // A disk that is only read need not be writable.
    let read_only = "kernel = \"/k\"\ndisk = { path = \"/disk\", read_only = true }\n";
    vm_on(&host, &format!("{VM}{read_only}[[lwk]]"));

    let no_tap = Resources { tap_fault: Some("it is not a tap device".to_owned()), ..hardware(2) };
    let expected = "3 `net`: cannot use \"eth0\": it is not a tap device (make it: sudo ip tuntap add dev eth0 mode tap user $USER)";
    assert_eq!(mistakes(&no_tap, &format!("{VM}net = \"eth0\"\n[[lwk]]")), [expected]);
}

#[test]
fn the_page_and_the_data_have_all_of_it() {
    let keys = "cores = \"0-1\"\ncmdline = \"quiet\"\ndisk = \"/root.img\"\nnet = \"tap0\"\nfiles = [\"/a\"]\n";
    let lwks =
        "[[lwk]]\nprogram = \"/bin/x\"\nimage = \"/image\"\nwatch_s = 0\n[[lwk]]\nname = \"b\"\n";
    let (node, host) = (node(&format!("{VM}{keys}{lwks}")), hardware(4));
    let partition = crate::partition::resolve(&node, &host).unwrap();
    let page = render(&node, &partition, &host);
    for text in [
        "node node",
        "service OS | 0-1",
        "LWK lwk0   | 3",
        "LWK b      | 2",
        "vmlinuz",
        "quiet",
        "/root.img, read and written",
        "tap device tap0",
        "/image",
        "32 MiB describe",
        "every 5 s",
        "never",
        "note: programs are files of the service VM",
    ] {
        assert!(page.contains(text), "{text:?} is not in\n{page}");
    }
    let data = serde_json::to_value(PartitionRecord::new(&partition, &host)).unwrap();
    assert_eq!(data["service"]["kind"], "vm");
    assert_eq!(data["service"]["cores"], serde_json::json!([0, 1]));
    assert_eq!(data["service"]["vm"]["disk"]["read_only"], false);
    assert_eq!(data["lwk"][0]["cores"][0], 3);
    assert_eq!(data["lwk"][1]["name"], "b");
    assert_eq!((&data["lwk"][0]["watch_s"], &data["lwk"][1]["watch_s"]), (&0.into(), &5.into()));
    assert_eq!(data["socket_mode"], "0600");
}
