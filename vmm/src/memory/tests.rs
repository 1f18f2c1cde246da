//! What the memory's users rely on: where its pieces lie, and that it goes when nobody uses it.

use std::fs;
use std::os::unix::fs::MetadataExt;

use vm_memory::{Bytes, GuestAddress};

use super::{GuestMemory, PageRequest};

const PIECE: u64 = 2 << 20;

fn two_pieces() -> GuestMemory {
    let pieces = [(GuestAddress(0), PIECE), (GuestAddress(1 << 32), PIECE)];
    GuestMemory::with_regions(&pieces, PageRequest::Small).unwrap()
}

fn inode(memory: &GuestMemory) -> u64 {
    memory.file().metadata().unwrap().ino()
}

/// Whether this process maps a file of that inode: an address may be another test's by now.
fn is_mapped(inode: u64) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| line.split_whitespace().nth(4) == Some(&inode.to_string()))
}

#[test]
fn pieces_follow_each_other_in_one_file() {
    let memory = two_pieces();
    let guest = memory.guest_memory();
    guest.write_obj(0x1234_u32, GuestAddress((1 << 32) + 8)).unwrap();
    assert!(guest.write_obj(0_u8, GuestAddress(PIECE)).is_err(), "the hole has no memory");
    assert_eq!(memory.bytes(), 2 * PIECE);
    let mut word = [0; 4];
    std::os::unix::fs::FileExt::read_exact_at(memory.file(), &mut word, PIECE + 8).unwrap();
    assert_eq!(u32::from_le_bytes(word), 0x1234);
    let hosts: Vec<u64> = memory.regions().iter().map(|r| r.host_address()).collect();
    assert_eq!(hosts[1], hosts[0] + PIECE);
}

#[test]
fn memory_is_unmapped_only_when_nobody_has_it() {
    let memory = two_pieces();
    let file = inode(&memory);
    assert!(is_mapped(file));
    drop(memory);
    assert!(!is_mapped(file));

    let memory = two_pieces();
    let file = inode(&memory);
    let clone = memory.guest_memory().clone();
    drop(memory);
    clone.write_obj(1_u64, GuestAddress(0)).unwrap();
    assert!(is_mapped(file));
}
