//! A driver to test devices with: guest memory, rings in it, and an interrupt that counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use virtio_queue::desc::RawDescriptor;
use virtio_queue::desc::split::{Descriptor, VirtqUsedElem};
use virtio_queue::mock::{AvailRing, DescriptorTable, UsedRing};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::device::{Activation, Interrupt, VirtioDevice};

/// The guest's memory: 4 MiB at 0. Rings are in the first MiB, a queue every 64 KiB.
pub const MEMORY: usize = 4 << 20;
/// Where buffers may be.
pub const BUFFERS: u64 = 1 << 20;

/// Descriptor flags (virtio 1.2, 2.7.5).
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// Interrupts of up to 4 queues, counted.
#[derive(Default)]
pub struct Interrupts([AtomicUsize; 4]);

impl Interrupts {
    /// How often queue `index` interrupted since the last question.
    pub fn take(&self, index: usize) -> usize {
        self.0[index].swap(0, Ordering::Relaxed)
    }
}

impl Interrupt for Interrupts {
    fn queue(&self, index: usize) {
        self.0[index].fetch_add(1, Ordering::Relaxed);
    }

    fn config(&self) {}
}

/// A piece of guest memory in a chain.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub at: u64,
    pub len: u32,
    pub flags: u16,
}

/// The device reads it.
pub fn readable(at: u64, len: usize) -> Piece {
    Piece { at, len: len as u32, flags: 0 }
}

/// The device writes it.
pub fn writable(at: u64, len: usize) -> Piece {
    Piece { at, len: len as u32, flags: WRITE }
}

/// The driver's side of one queue.
pub struct DriverQueue {
    memory: GuestMemoryMmap,
    base: u64,
    size: u16,
    next_descriptor: u16,
    next_used: u16,
}

impl DriverQueue {
    /// Both sides of queue `index`.
    pub fn new(memory: &GuestMemoryMmap, index: usize, size: u16) -> (DriverQueue, Queue) {
        let queue = DriverQueue {
            memory: memory.clone(),
            base: 0x1_0000 * (index as u64 + 1),
            size,
            next_descriptor: 0,
            next_used: 0,
        };
        AvailRing::new(memory, GuestAddress(queue.base + 0x8000), size);
        UsedRing::new(memory, GuestAddress(queue.base + 0xc000), size);
        let mut device_side = Queue::new(size).unwrap();
        device_side.set_desc_table_address(Some(queue.base as u32), None);
        device_side.set_avail_ring_address(Some(queue.base as u32 + 0x8000), None);
        device_side.set_used_ring_address(Some(queue.base as u32 + 0xc000), None);
        device_side.set_ready(true);
        (queue, device_side)
    }

    /// Writes a descriptor as it is.
    pub fn descriptor(&self, index: u16, piece: Piece, next: u16) {
        let descriptor = Descriptor::new(piece.at, piece.len, piece.flags, next);
        let table = DescriptorTable::new(&self.memory, GuestAddress(self.base), self.size);
        table.store(index, RawDescriptor::from(descriptor)).unwrap();
    }

    /// Makes the chain that begins with descriptor `head` available.
    pub fn offer(&self, head: u16) {
        let at = self.base + 0x8000;
        let index: u16 = self.memory.read_obj(GuestAddress(at + 2)).unwrap();
        let slot = u64::from(index % self.size);
        self.memory.write_obj(head, GuestAddress(at + 4 + 2 * slot)).unwrap();
        self.memory.write_obj(index.wrapping_add(1), GuestAddress(at + 2)).unwrap();
    }

    /// Sets the available ring's flags.
    pub fn set_flags(&self, flags: u16) {
        self.memory.write_obj(flags, GuestAddress(self.base + 0x8000)).unwrap();
    }

    /// Sets the index of the used chain after which the driver wants an interrupt (`used_event`).
    pub fn set_used_event(&self, index: u16) {
        let at = self.base + 0x8000 + 4 + 2 * u64::from(self.size);
        self.memory.write_obj(index, GuestAddress(at)).unwrap();
    }

    /// The index of the available chain after which the device wants a kick (`avail_event`).
    pub fn avail_event(&self) -> u16 {
        let at = self.base + 0xc000 + 4 + 8 * u64::from(self.size);
        self.memory.read_obj(GuestAddress(at)).unwrap()
    }

    /// Offers a chain; returns its head. Descriptors are used in turn: more than the queue's size are never in flight.
    pub fn add(&mut self, pieces: &[Piece]) -> u16 {
        let index = |at: usize| (self.next_descriptor + at as u16) % self.size;
        for (at, piece) in pieces.iter().enumerate() {
            let more = if at + 1 < pieces.len() { NEXT } else { 0 };
            self.descriptor(
                index(at),
                Piece { flags: piece.flags | more, ..*piece },
                index(at + 1),
            );
        }
        let head = index(0);
        self.next_descriptor = index(pieces.len());
        self.offer(head);
        head
    }

    /// The next chain that the device returned: its head, and how many bytes were written.
    pub fn used(&mut self) -> Option<(u16, u32)> {
        let at = self.base + 0xc000;
        let index: u16 = self.memory.read_obj(GuestAddress(at + 2)).unwrap();
        if index == self.next_used {
            return None;
        }
        let slot = u64::from(self.next_used % self.size);
        let element: VirtqUsedElem = self.memory.read_obj(GuestAddress(at + 4 + 8 * slot)).unwrap();
        self.next_used = self.next_used.wrapping_add(1);
        Some((element.id() as u16, element.len()))
    }
}

/// Memory and interrupts of a driver; its queues are beside it.
pub struct Driver {
    pub memory: GuestMemoryMmap,
    pub interrupts: Arc<Interrupts>,
}

impl Driver {
    /// Starts the device: the driver, and its side of each queue.
    pub fn start(device: &mut dyn VirtioDevice) -> (Driver, Vec<DriverQueue>) {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
        let interrupts = Arc::new(Interrupts::default());
        let sizes = device.queue_sizes().iter().enumerate();
        let (ours, theirs) =
            sizes.map(|(index, size)| DriverQueue::new(&memory, index, *size)).unzip();
        let features = device.features();
        let interrupt = interrupts.clone();
        device.activate(Activation { memory: memory.clone(), queues: theirs, interrupt, features });
        (Driver { memory, interrupts }, ours)
    }

    /// Puts bytes where the device reads them.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
    }

    /// Bytes that the device may have written.
    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
        bytes
    }
}
