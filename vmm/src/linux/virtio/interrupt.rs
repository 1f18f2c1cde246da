//! A device's interrupts: which vector announces what, and the register that says it to a driver without vectors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};

use super::device::Interrupt;
use crate::linux::pci::{Messages, Msix};

/// "No vector" (virtio 1.2, 4.1.4.3).
pub const NO_VECTOR: u16 = 0xffff;
/// ISR status: buffers were used (4.1.4.5).
const ISR_QUEUE: u8 = 1;
/// ISR status: the configuration has changed.
const ISR_CONFIG: u8 = 2;

/// The interrupts of one device. Every method may be called on any thread, also while the device is locked.
pub struct VirtioInterrupt<M> {
    msix: Arc<Msix<M>>,
    isr: AtomicU8,
    generation: AtomicU8,
    config: AtomicU16,
    queues: Vec<AtomicU16>,
}

impl<M: std::ops::Deref<Target: Messages>> VirtioInterrupt<M> {
    /// Interrupts of a device with `queues` queues, by vectors of `msix`.
    pub fn new(msix: Arc<Msix<M>>, queues: usize) -> VirtioInterrupt<M> {
        let none = || AtomicU16::new(NO_VECTOR);
        VirtioInterrupt {
            msix,
            isr: AtomicU8::new(0),
            generation: AtomicU8::new(0),
            config: none(),
            queues: std::iter::repeat_with(none).take(queues).collect(),
        }
    }

    /// Reads and clears the ISR status.
    pub fn take_isr(&self) -> u8 {
        self.isr.swap(0, Ordering::AcqRel)
    }

    /// The configuration's generation: changes with every change of it.
    pub fn generation(&self) -> u8 {
        self.generation.load(Ordering::Acquire)
    }

    /// The vector of `queue`, or of the configuration.
    pub fn vector(&self, queue: Option<u16>) -> u16 {
        self.cell(queue).map_or(NO_VECTOR, |cell| cell.load(Ordering::Acquire))
    }

    /// Sets it; a vector that is not there becomes [`NO_VECTOR`], by which the driver knows.
    pub fn set_vector(&self, queue: Option<u16>, vector: u16) {
        let exists = usize::from(vector) < self.msix.vectors();
        if let Some(cell) = self.cell(queue) {
            cell.store(if exists { vector } else { NO_VECTOR }, Ordering::Release);
        }
    }

    /// Forgets all vectors, and what was announced.
    pub fn reset(&self) {
        for cell in self.queues.iter().chain([&self.config]) {
            cell.store(NO_VECTOR, Ordering::Release);
        }
        self.isr.store(0, Ordering::Release);
    }

    fn cell(&self, queue: Option<u16>) -> Option<&AtomicU16> {
        queue.map_or(Some(&self.config), |index| self.queues.get(usize::from(index)))
    }
}

impl<M: std::ops::Deref<Target: Messages> + Send + Sync> Interrupt for VirtioInterrupt<M> {
    fn queue(&self, index: usize) {
        self.isr.fetch_or(ISR_QUEUE, Ordering::AcqRel);
        if let Some(cell) = self.queues.get(index) {
            self.msix.signal(cell.load(Ordering::Acquire));
        }
    }

    fn config(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.isr.fetch_or(ISR_CONFIG, Ordering::AcqRel);
        self.msix.signal(self.config.load(Ordering::Acquire));
    }
}
