//! The common configuration: the registers by which driver and device agree (virtio 1.2, 4.1.4.3, 2.1 and 3.1).

use std::ops::Deref;
use std::sync::Arc;

use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::device::{Activation, Interrupt, VirtioDevice};
use super::interrupt::VirtioInterrupt;
use crate::linux::pci::Messages;

/// `VIRTIO_F_RING_EVENT_IDX`.
const RING_EVENT_IDX: u64 = 1 << 29;
/// `VIRTIO_F_VERSION_1`.
const VERSION_1: u64 = 1 << 32;

/// Device status: driver and device have agreed on features.
const FEATURES_OK: u8 = 8;
/// Device status: the driver is ready.
const DRIVER_OK: u8 = 4;
/// Device status: the device cannot go on before it is reset.
const NEEDS_RESET: u8 = 64;

/// A device behind its registers. The lock around it is the lock around the device.
pub(super) struct Common<M> {
    pub(super) device: Box<dyn VirtioDevice>,
    memory: GuestMemoryMmap,
    interrupt: Arc<VirtioInterrupt<M>>,
    status: u8,
    device_feature_select: u32,
    driver_feature_select: u32,
    driver_features: u64,
    queue_select: u16,
    queues: Vec<QueueSetup>,
    active: bool,
}

/// What a driver has said of a queue.
#[derive(Clone, Copy, Debug)]
struct QueueSetup {
    max_size: u16,
    size: u16,
    enabled: bool,
    descriptors: u64,
    driver: u64,
    device: u64,
}

impl QueueSetup {
    fn new(max_size: u16) -> QueueSetup {
        QueueSetup {
            max_size,
            size: max_size,
            enabled: false,
            descriptors: 0,
            driver: 0,
            device: 0,
        }
    }

    /// The queue as the device uses it; `None` where it does not lie in memory as it must.
    fn build(&self, memory: &GuestMemoryMmap, features: u64) -> Option<Queue> {
        let mut queue = Queue::new(self.max_size).ok()?;
        if !self.enabled {
            return Some(queue);
        }
        queue.try_set_size(self.size).ok()?;
        queue.try_set_desc_table_address(GuestAddress(self.descriptors)).ok()?;
        queue.try_set_avail_ring_address(GuestAddress(self.driver)).ok()?;
        queue.try_set_used_ring_address(GuestAddress(self.device)).ok()?;
        queue.set_event_idx(features & RING_EVENT_IDX != 0);
        queue.set_ready(true);
        queue.is_valid(memory).then_some(queue)
    }
}

impl<M: Deref<Target: Messages> + Send + Sync + 'static> Common<M> {
    pub(super) fn new(
        device: Box<dyn VirtioDevice>,
        memory: GuestMemoryMmap,
        interrupt: Arc<VirtioInterrupt<M>>,
    ) -> Common<M> {
        let queues = device.queue_sizes().iter().map(|size| QueueSetup::new(*size)).collect();
        Common {
            device,
            memory,
            interrupt,
            status: 0,
            device_feature_select: 0,
            driver_feature_select: 0,
            driver_features: 0,
            queue_select: 0,
            queues,
            active: false,
        }
    }

    /// Whether the device has its queues.
    pub(super) fn active(&self) -> bool {
        self.active
    }

    /// Reads `length` bytes at `offset` as an integer. Zero for what is not a register, or not all of one.
    pub(super) fn read(&self, offset: u64, length: usize) -> u64 {
        let queue = self.selected();
        let register = |value: u64, bytes: usize| if length == bytes { value } else { 0 };
        match offset {
            0x00 => register(self.device_feature_select.into(), 4),
            0x04 => register(half(self.offered(), self.device_feature_select), 4),
            0x08 => register(self.driver_feature_select.into(), 4),
            0x0c => register(half(self.driver_features, self.driver_feature_select), 4),
            0x10 => register(self.interrupt.vector(None).into(), 2),
            0x12 => register(self.queues.len() as u64, 2),
            0x14 => register(self.status.into(), 1),
            0x15 => register(self.interrupt.generation().into(), 1),
            0x16 => register(self.queue_select.into(), 2),
            0x18 => register(queue.map_or(0, |q| q.size.into()), 2),
            0x1a => register(self.interrupt.vector(Some(self.queue_select)).into(), 2),
            0x1c => register(queue.map_or(0, |q| q.enabled.into()), 2),
            0x1e => register(queue.map_or(0, |_| self.queue_select.into()), 2),
            0x20..0x38 if offset.is_multiple_of(4) && matches!(length, 4 | 8) => {
                let address = queue.map_or(0, |q| match offset & !7 {
                    0x20 => q.descriptors,
                    0x28 => q.driver,
                    _ => q.device,
                });
                address >> (offset % 8 * 8)
            }
            _ => 0,
        }
    }

    /// Writes the integer `value` of `length` bytes at `offset`. Nothing happens where that is not a register, not all of one,
    /// or not to be written now.
    pub(super) fn write(&mut self, offset: u64, length: usize, value: u64) {
        match (offset, length) {
            (0x00, 4) => self.device_feature_select = value as u32,
            (0x08, 4) => self.driver_feature_select = value as u32,
            (0x0c, 4) if self.status & FEATURES_OK == 0 => {
                let shift = match self.driver_feature_select {
                    0 => 0,
                    1 => 32,
                    _ => return,
                };
                let kept = self.driver_features & !(0xffff_ffff << shift);
                self.driver_features = kept | (value & 0xffff_ffff) << shift;
            }
            (0x10, 2) => self.interrupt.set_vector(None, value as u16),
            (0x14, 1) => self.set_status(value as u8),
            (0x16, 2) => self.queue_select = value as u16,
            (0x1a, 2) => self.interrupt.set_vector(Some(self.queue_select), value as u16),
            (0x18 | 0x1c, 2) | (0x20..0x38, 4 | 8) => self.set_queue(offset, length, value),
            _ => {}
        }
    }

    fn set_queue(&mut self, offset: u64, length: usize, value: u64) {
        let Some(queue) = self.queues.get_mut(usize::from(self.queue_select)) else { return };
        // A queue in use must not move (4.1.4.3.2).
        if queue.enabled || !offset.is_multiple_of(2) {
            return;
        }
        let address = match offset & !7 {
            _ if offset == 0x18 => {
                queue.size = value as u16;
                return;
            }
            _ if offset == 0x1c => {
                queue.enabled = value == 1;
                return;
            }
            0x20 => &mut queue.descriptors,
            0x28 => &mut queue.driver,
            _ => &mut queue.device,
        };
        match (offset % 8, length) {
            (0, 8) => *address = value,
            (0, _) => *address = *address & !0xffff_ffff | value & 0xffff_ffff,
            (4, 4) => *address = *address & 0xffff_ffff | value << 32,
            _ => {}
        }
    }

    /// The driver writes the device status: zero resets, everything else only adds bits (2.1).
    fn set_status(&mut self, value: u8) {
        if value == 0 {
            self.reset();
            return;
        }
        let added = value & !self.status & !NEEDS_RESET;
        if added & FEATURES_OK != 0 && !self.accepts_features() {
            self.status |= added & !FEATURES_OK & !DRIVER_OK;
            return;
        }
        self.status |= added;
        if added & DRIVER_OK != 0 {
            self.activate();
        }
    }

    fn accepts_features(&self) -> bool {
        self.driver_features & !self.offered() == 0 && self.driver_features & VERSION_1 != 0
    }

    fn activate(&mut self) {
        let features = self.driver_features;
        let queues: Option<Vec<Queue>> =
            self.queues.iter().map(|queue| queue.build(&self.memory, features)).collect();
        match queues {
            Some(queues) if self.status & FEATURES_OK != 0 => {
                self.active = true;
                self.device.activate(Activation {
                    memory: self.memory.clone(),
                    queues,
                    interrupt: Arc::clone(&self.interrupt) as Arc<dyn Interrupt>,
                    features,
                });
            }
            _ => {
                self.status |= NEEDS_RESET;
                self.interrupt.config();
            }
        }
    }

    fn reset(&mut self) {
        if self.active {
            self.device.reset();
        }
        self.active = false;
        self.interrupt.reset();
        self.status = 0;
        (self.device_feature_select, self.driver_feature_select) = (0, 0);
        self.driver_features = 0;
        self.queue_select = 0;
        for queue in &mut self.queues {
            *queue = QueueSetup::new(queue.max_size);
        }
    }

    fn offered(&self) -> u64 {
        self.device.features() | VERSION_1
    }

    fn selected(&self) -> Option<&QueueSetup> {
        self.queues.get(usize::from(self.queue_select))
    }
}

/// Bits 0-31 or 32-63 of the features, as the driver selects.
fn half(features: u64, select: u32) -> u64 {
    match select {
        0 => features & 0xffff_ffff,
        1 => features >> 32,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
