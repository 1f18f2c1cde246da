use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::Ordering::Relaxed;

use margay_abi::layout::{PAGE, USER_END};
use margay_abi::maplog::{MapLog, MapOp, RECORDS};
use proptest::prelude::*;

use super::{GuestMemory, Mirror, MirrorError, Prot};

const MEMORY_BYTES: u64 = 64 * PAGE;

/// A mirror, its log, and the writer of the log, in this process: tests have ranges of their own.
struct Guest {
    memory: File,
    mirror: Mirror,
    log: Box<MapLog>,
    seq: u32,
}

impl Guest {
    fn new() -> Guest {
        // SAFETY: creates a file; the name is a live string.
        let fd = unsafe { libc::memfd_create(c"guest".as_ptr(), libc::MFD_CLOEXEC) };
        assert!(fd >= 0);
        // SAFETY: just opened, owned by nobody else.
        let memory = unsafe { File::from_raw_fd(fd) };
        memory.set_len(MEMORY_BYTES).unwrap();
        let guest = GuestMemory::new(memory.try_clone().unwrap(), MEMORY_BYTES).unwrap();
        let mirror = Mirror::new(guest);
        // SAFETY: integers, atomic or not, for which zero bytes are valid.
        let log = Box::new(unsafe { std::mem::zeroed() });
        Guest { memory, mirror, log, seq: 0 }
    }

    fn log(&mut self, op: u32, addr: u64, len: u64, gpa: u64, prot: u32) {
        let record = &self.log.records[self.seq as usize % RECORDS];
        record.addr.store(addr, Relaxed);
        record.len.store(len, Relaxed);
        record.gpa.store(gpa, Relaxed);
        record.op.store(op, Relaxed);
        record.prot.store(prot, Relaxed);
        self.seq = self.seq.wrapping_add(1);
    }

    fn catch_up(&mut self) -> Result<(), MirrorError> {
        self.mirror.catch_up(&self.log, self.seq)
    }

    fn map(&mut self, addr: u64, pages: u64, gpa: u64, prot: u32) {
        self.log(MapOp::Map as u32, addr, pages * PAGE, gpa, prot);
    }

    fn read(&self, addr: u64) -> Option<u8> {
        let mut byte = [0];
        (self.mirror.read_at(addr, &mut byte) == 1).then_some(byte[0])
    }
}

/// What the kernel makes of a `read` of one byte of `/dev/zero` into `addr`: the errno, or 0.
fn kernel_writes(addr: u64) -> i32 {
    let zero = File::open("/dev/zero").unwrap();
    // SAFETY: `addr` is in a test's own range, where no Rust object is; the kernel checks that it is mapped.
    let ret = unsafe { libc::read(zero.as_raw_fd(), addr as *mut libc::c_void, 1) };
    if ret == 1 { 0 } else { std::io::Error::last_os_error().raw_os_error().unwrap() }
}

#[test]
fn the_kernel_sees_what_the_program_sees() {
    use std::os::unix::fs::FileExt;
    const ADDR: u64 = 0x10_0000_0000;
    let mut guest = Guest::new();
    guest.memory.write_all_at(b"A", 8 * PAGE).unwrap();
    guest.memory.write_all_at(b"B", 9 * PAGE).unwrap();
    guest.map(ADDR, 2, 8 * PAGE, 3);
    guest.map(ADDR + 2 * PAGE, 1, 3 * PAGE, 1);
    guest.map(ADDR + 3 * PAGE, 1, 4 * PAGE, 0);
    assert_eq!(kernel_writes(ADDR), libc::EFAULT, "nothing is applied yet");
    guest.catch_up().unwrap();
    assert_eq!(guest.log.applied.load(Relaxed), 3);

    assert_eq!((guest.read(ADDR), guest.read(ADDR + PAGE)), (Some(b'A'), Some(b'B')));
    assert_eq!(kernel_writes(ADDR), 0);
    assert_eq!(guest.read(ADDR), Some(0), "written by the kernel");
    assert_eq!(kernel_writes(ADDR + 2 * PAGE), libc::EFAULT, "read-only");
    assert_eq!(guest.read(ADDR + 2 * PAGE), Some(0));
    assert_eq!(kernel_writes(ADDR + 3 * PAGE), libc::EFAULT, "no access");
    assert_eq!(guest.read(ADDR + 3 * PAGE), None);
    assert!(!guest.mirror.write_at(ADDR + 2 * PAGE - 1, b"ab"), "half of it is read-only");
    assert!(guest.mirror.write_at(ADDR + PAGE - 1, b"cd"));
    let mut bytes = [0; 2];
    guest.memory.read_exact_at(&mut bytes, 9 * PAGE - 1).unwrap();
    assert_eq!(&bytes, b"cd", "the same pages");
}

#[test]
fn changes_take_effect_in_their_order() {
    const ADDR: u64 = 0x11_0000_0000;
    let mut guest = Guest::new();
    guest.map(ADDR, 4, 0, 3);
    guest.log(MapOp::Unmap as u32, ADDR, PAGE, 0, 0);
    guest.log(MapOp::Protect as u32, ADDR, 3 * PAGE, 0, 1);
    guest.map(ADDR, 1, 7 * PAGE, 3);
    guest.catch_up().unwrap();
    assert_eq!(kernel_writes(ADDR), 0);
    assert_eq!(kernel_writes(ADDR + PAGE), libc::EFAULT);
    assert_eq!(kernel_writes(ADDR + 3 * PAGE), 0);
    guest.log(MapOp::Unmap as u32, ADDR, 4 * PAGE, 0, 0);
    guest.catch_up().unwrap();
    assert_eq!(kernel_writes(ADDR), libc::EFAULT);
    assert_eq!(guest.read(ADDR + 3 * PAGE), None);
}

#[test]
fn a_full_log_is_followed_round_and_round() {
    const ADDR: u64 = 0x12_0000_0000;
    let mut guest = Guest::new();
    for round in 0..5_u64 {
        for i in 0..RECORDS as u64 {
            let page = (round + i) % 8;
            guest.map(ADDR + page * PAGE, 1, page * PAGE, 1 + (i & 2) as u32);
        }
        guest.catch_up().unwrap();
    }
    assert_eq!(guest.log.applied.load(Relaxed), 5 * RECORDS as u32);
    let past = guest.seq - 7;
    guest.mirror.catch_up(&guest.log, past).unwrap();
    assert_eq!(guest.mirror.applied, guest.seq, "a request that is behind changes nothing");
}

#[test]
fn records_that_reach_outside_are_refused_before_anything_happens() {
    const ADDR: u64 = 0x13_0000_0000;
    let map = MapOp::Map as u32;
    for (op, addr, len, gpa, prot) in [
        (map, ADDR, PAGE, MEMORY_BYTES, 3),
        (map, ADDR, 2 * PAGE, MEMORY_BYTES - PAGE, 3),
        (map, ADDR, PAGE, u64::MAX - PAGE + 1, 3),
        (map, ADDR, PAGE, 1, 3),
        (map, ADDR, PAGE, 0, 7),
        (map, ADDR + 1, PAGE, 0, 3),
        (map, USER_END - PAGE, 2 * PAGE, 0, 3),
        (map, 0, PAGE, 0, 3),
        (MapOp::Unmap as u32, USER_END, PAGE, 0, 0),
        (MapOp::Protect as u32, ADDR, PAGE, 0, 4),
        (0, ADDR, PAGE, 0, 3),
        (4, ADDR, PAGE, 0, 3),
    ] {
        let mut guest = Guest::new();
        guest.log(op, addr, len, gpa, prot);
        let error = guest.catch_up().unwrap_err();
        assert!(matches!(error, MirrorError::Invalid { seq: 0, .. }), "{error}");
        assert_eq!(guest.log.applied.load(Relaxed), 0);
    }
    let mut guest = Guest::new();
    guest.seq = RECORDS as u32 + 1;
    assert!(matches!(guest.catch_up(), Err(MirrorError::Overrun(_))));
}

proptest! {
    /// Random changes of a few pages: what the mirror believes is what the kernel does.
    #[test]
    fn the_mirror_and_the_kernel_agree(
        changes in proptest::collection::vec((0..5_u32, 0..12_u64, 0..8_u64, 0..60_u64, 0..5_u32), 1..30),
    ) {
        const ADDR: u64 = 0x14_0000_0000;
        let mut guest = Guest::new();
        guest.log(MapOp::Unmap as u32, ADDR, 32 * PAGE, 0, 0);
        for (op, page, pages, gpa_page, prot) in changes {
            guest.log(op, ADDR + page * PAGE, pages * PAGE, gpa_page * PAGE, prot);
            if guest.catch_up().is_err() {
                // The proxy would have ended.
                break;
            }
        }
        for page in 0..32 {
            let addr = ADDR + page * PAGE;
            prop_assert_eq!(guest.mirror.allows(addr, 1, Prot::WRITE), kernel_writes(addr) == 0);
        }
    }
}
