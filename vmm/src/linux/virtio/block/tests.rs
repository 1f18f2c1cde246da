use std::fs;
use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use tempfile::{NamedTempFile, TempDir};

use super::*;
use crate::linux::virtio::testing::{
    BUFFERS, Driver, DriverQueue, INDIRECT, MEMORY, NEXT, Piece, WRITE, readable, writable,
};

const SECTORS: usize = 1024;
const DATA: u64 = BUFFERS + 0x1000;
const STATUS: u64 = BUFFERS + 0x100;

struct Disk {
    file: NamedTempFile,
    device: BlockDevice,
    driver: Driver,
    queue: DriverQueue,
}

/// The byte that is at a position of a fresh image.
fn pattern(at: usize) -> u8 {
    (at % 253) as u8
}

impl Disk {
    fn new(access: DiskAccess) -> Disk {
        let file = NamedTempFile::new().unwrap();
        fs::write(file.path(), (0..SECTORS * 512).map(pattern).collect::<Vec<_>>()).unwrap();
        let mut device = BlockDevice::open(file.path(), access, "root").unwrap();
        let (driver, mut queues) = Driver::start(&mut device);
        Disk { file, device, driver, queue: queues.remove(0) }
    }

    /// The status of a request with `data` between header and status, and how many bytes were written.
    fn request(&mut self, kind: u32, sector: u64, data: &[Piece]) -> (u8, u32) {
        let header = [kind.to_le_bytes().as_slice(), &[0; 4], &sector.to_le_bytes()].concat();
        self.driver.write(BUFFERS, &header);
        self.driver.write(STATUS, &[0xff]);
        let pieces = [&[readable(BUFFERS, 16)], data, &[writable(STATUS, 1)]].concat();
        let head = self.queue.add(&pieces);
        self.device.kicked(0);
        let (returned, written) = self.queue.used().unwrap();
        assert_eq!(returned, head);
        (self.driver.read(STATUS, 1)[0], written)
    }
}

#[test]
fn the_configuration_says_what_the_disk_is() {
    let disk = Disk::new(DiskAccess::ReadWrite);
    let mut config = [0xff; 32];
    disk.device.read_config(0, &mut config);
    assert_eq!(config[..8], (SECTORS as u64).to_le_bytes());
    assert_eq!(config[12..16], 254u32.to_le_bytes());
    assert_eq!(config[20..24], 512u32.to_le_bytes());
    assert_eq!(config[24..], [0; 8]);
    disk.device.read_config(u64::MAX, &mut config);
    assert_eq!(config, [0; 32]);
    assert_eq!(disk.device.features() & F_RO, 0);
    assert_ne!(Disk::new(DiskAccess::ReadOnly).device.features() & F_RO, 0);
}

#[test]
fn reads_and_writes_reach_the_image() {
    let mut disk = Disk::new(DiskAccess::ReadWrite);
    let (a, b) = (writable(DATA, 300), writable(DATA + 0x1000, 724));
    assert_eq!(disk.request(0, 3, &[a, b]), (0, 1025));
    let read = [disk.driver.read(DATA, 300), disk.driver.read(DATA + 0x1000, 724)].concat();
    assert!(read.iter().enumerate().all(|(at, byte)| *byte == pattern(3 * 512 + at)));
    assert_eq!(disk.driver.interrupts.take(0), 1);

    // More than is copied at a time.
    let all: Vec<u8> = (0..300 << 10).map(|at: u32| (at % 7) as u8).collect();
    disk.driver.write(DATA, &all);
    assert_eq!(disk.request(1, 8, &[readable(DATA, all.len())]), (0, 1));
    assert_eq!(disk.request(4, 0, &[]), (0, 1));
    let image = fs::read(disk.file.path()).unwrap();
    assert!(image[4096..4096 + all.len()] == all);
    assert_eq!(
        (image.len(), image[4095], image[4096 + all.len()]),
        (SECTORS * 512, pattern(4095), pattern(4096 + all.len()))
    );
}

#[test]
fn the_guest_may_ask_for_the_name() {
    let mut disk = Disk::new(DiskAccess::ReadOnly);
    assert_eq!(disk.request(8, 0, &[writable(DATA, 20)]), (0, 21));
    assert_eq!(disk.driver.read(DATA, 20), b"root\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
}

#[test]
fn what_is_outside_of_the_disk_or_not_allowed_is_an_error_and_changes_nothing() {
    let mut disk = Disk::new(DiskAccess::ReadWrite);
    let before = fs::read(disk.file.path()).unwrap();
    let last = SECTORS as u64 - 1;
    assert_eq!(disk.request(0, last, &[writable(DATA, 512)]), (0, 513));
    for (sector, len) in
        [(last, 1024), (last + 1, 512), (u64::MAX, 512), (u64::MAX / 512, 512), (0, 511)]
    {
        assert_eq!(disk.request(0, sector, &[writable(DATA, len)]), (1, 1), "{sector} {len}");
        assert_eq!(disk.request(1, sector, &[readable(DATA, len)]), (1, 1), "{sector} {len}");
    }
    assert_eq!(disk.request(11, 0, &[readable(DATA, 16)]), (2, 1));
    assert!(fs::read(disk.file.path()).unwrap() == before);

    let mut disk = Disk::new(DiskAccess::ReadOnly);
    assert_eq!(disk.request(1, 0, &[readable(DATA, 512)]), (1, 1));
}

#[test]
fn chains_that_make_no_sense_go_back() {
    let mut disk = Disk::new(DiskAccess::ReadWrite);
    let outside = MEMORY as u64 - 8;
    let chains: [&[Piece]; 6] = [
        &[readable(BUFFERS, 16)],
        &[readable(BUFFERS, 8), writable(STATUS, 1)],
        &[readable(BUFFERS, 16), writable(outside, 512), writable(STATUS, 1)],
        &[readable(outside, 16), writable(STATUS, 1)],
        &[Piece { at: u64::MAX, len: u32::MAX, flags: 0 }, writable(STATUS, 1)],
        &[writable(STATUS, 0)],
    ];
    for chain in chains {
        let head = disk.queue.add(chain);
        disk.device.kicked(0);
        let (returned, written) = disk.queue.used().unwrap();
        assert!(returned == head && written <= 1);
    }
    disk.queue.descriptor(50, Piece { at: BUFFERS, len: 16, flags: NEXT }, 51);
    disk.queue.descriptor(51, Piece { at: DATA, len: 512, flags: NEXT | WRITE }, 51);
    disk.queue.offer(50);
    disk.queue.descriptor(52, Piece { at: BUFFERS, len: 16 * 3, flags: INDIRECT }, 0);
    disk.queue.offer(52);
    disk.device.kicked(0);
    assert_eq!(disk.queue.used().unwrap().0, 50);
    assert_eq!(disk.queue.used().unwrap().0, 52);
    assert_eq!(disk.request(0, 0, &[writable(DATA, 512)]), (0, 513), "it still works");
}

#[test]
fn an_image_in_use_is_locked() {
    let disk = Disk::new(DiskAccess::ReadWrite);
    let path = disk.file.path();
    for access in [DiskAccess::ReadOnly, DiskAccess::ReadWrite] {
        let error = BlockDevice::open(path, access, "").err().unwrap();
        assert!(matches!(error, BlockError::Locked(_)), "{error}");
    }
    let Disk { file, device, .. } = disk;
    drop(device);
    let _first = BlockDevice::open(file.path(), DiskAccess::ReadOnly, "").unwrap();
    let _second = BlockDevice::open(file.path(), DiskAccess::ReadOnly, "").unwrap();
    let error = BlockDevice::open(file.path(), DiskAccess::ReadWrite, "").err().unwrap();
    assert!(matches!(error, BlockError::Locked(_)), "{error}");
}

#[test]
fn what_is_no_image_is_said() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("disk");
    let open = |path: &Path, access| BlockDevice::open(path, access, "").err().unwrap();
    assert!(matches!(open(&path, DiskAccess::ReadWrite), BlockError::Missing(_)));
    assert!(matches!(open(folder.path(), DiskAccess::ReadOnly), BlockError::NotAnImage(_)));
    assert!(matches!(open(folder.path(), DiskAccess::ReadWrite), BlockError::NotAnImage(_)));
    for len in [0, 513] {
        fs::write(&path, vec![0; len as usize]).unwrap();
        let error = open(&path, DiskAccess::ReadWrite);
        assert!(matches!(error, BlockError::Size { len: said, .. } if said == len), "{error}");
    }
    fs::write(&path, [0; 512]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    // Root may write everything.
    if fs::OpenOptions::new().write(true).open(&path).is_err() {
        assert!(matches!(open(&path, DiskAccess::ReadWrite), BlockError::NotWritable(_)));
    }
    assert!(BlockDevice::open(&path, DiskAccess::ReadOnly, "").is_ok());
}

proptest! {
    /// Whatever is in the descriptors: no panic, and every chain comes back.
    #[test]
    fn random_chains_do_no_harm(
        descriptors in proptest::collection::vec((BUFFERS..MEMORY as u64 + 64, any::<u32>(), 0u16..8, 0u16..20), 16),
        kind in 0u32..12,
        sector in 0u64..2000,
        heads in proptest::collection::vec(0u16..16, 1..8),
    ) {
        let mut disk = Disk::new(DiskAccess::ReadWrite);
        let header = [kind.to_le_bytes().as_slice(), &[0; 4], &sector.to_le_bytes()].concat();
        disk.driver.write(BUFFERS, &header);
        for (index, (at, len, flags, next)) in descriptors.iter().enumerate() {
            // Half of them are plausible.
            let piece = if index % 2 == 0 {
                Piece { at: BUFFERS, len: len % 2048, flags: *flags & !INDIRECT }
            } else {
                Piece { at: *at, len: *len, flags: *flags }
            };
            disk.queue.descriptor(index as u16, piece, *next);
        }
        for head in &heads {
            disk.queue.offer(*head);
        }
        disk.device.kicked(0);
        prop_assert_eq!(std::iter::from_fn(|| disk.queue.used()).count(), heads.len());
    }
}
