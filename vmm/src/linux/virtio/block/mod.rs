//! virtio-blk (virtio 1.2, 5.2) on a raw image: a disk of the guest is a file or block device of the host.
//!
//! Requests are executed when they are taken, one after the other, by the thread that brings the kick: simple, and none
//! is in flight at a reset. Whoever brings the kick waits for the host's disk.

mod image;
mod request;
#[cfg(test)]
mod tests;

use std::os::fd::RawFd;
use std::path::Path;

use super::device::{Activation, VirtioDevice};
use super::ring::{Ring, read_config};
use image::Image;
pub use image::{BlockError, DiskAccess};
use request::Worker;

/// Device type (virtio 1.2, section 5).
const DEVICE_TYPE: u32 = 2;
const QUEUE_SIZES: [u16; 1] = [256];
/// Features (5.2.3).
const F_SEG_MAX: u64 = 1 << 2;
const F_RO: u64 = 1 << 5;
const F_BLK_SIZE: u64 = 1 << 6;
const F_FLUSH: u64 = 1 << 9;
/// Pieces of data in a request: with header and status it still fits the queue.
const SEG_MAX: u32 = QUEUE_SIZES[0] as u32 - 2;
/// The unit of capacities and positions (5.2.4).
const SECTOR: u64 = 512;

/// A disk.
pub struct BlockDevice {
    worker: Worker,
    queue: Option<Ring>,
}

impl BlockDevice {
    /// A disk on a raw image, which is locked as long as the device lives. The guest may ask for `id`, of which the first 20
    /// bytes count; Linux shows it as the disk's serial number.
    ///
    /// # Errors
    /// See [`BlockError`].
    pub fn open(path: &Path, access: DiskAccess, id: &str) -> Result<BlockDevice, BlockError> {
        Ok(BlockDevice { worker: Worker::new(Image::open(path, access)?, id), queue: None })
    }
}

impl VirtioDevice for BlockDevice {
    fn device_type(&self) -> u32 {
        DEVICE_TYPE
    }

    fn features(&self) -> u64 {
        let read_only = match self.worker.image().access() {
            DiskAccess::ReadOnly => F_RO,
            DiskAccess::ReadWrite => 0,
        };
        F_SEG_MAX | F_BLK_SIZE | F_FLUSH | read_only
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// `struct virtio_blk_config` (5.2.4) up to `blk_size`; the geometry between is not offered.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut config = [0; 24];
        config[..8].copy_from_slice(&(self.worker.image().len() / SECTOR).to_le_bytes());
        config[12..16].copy_from_slice(&SEG_MAX.to_le_bytes());
        config[20..].copy_from_slice(&(SECTOR as u32).to_le_bytes());
        read_config(&config, offset, data);
    }

    fn activate(&mut self, activation: Activation) {
        let [queue] = Ring::all(activation);
        self.queue = Some(queue);
    }

    fn reset(&mut self) {
        self.queue = None;
    }

    fn sources(&self) -> Vec<RawFd> {
        Vec::new()
    }

    fn kicked(&mut self, _index: usize) {
        let Some(queue) = &mut self.queue else { return };
        let memory = queue.memory();
        while let Some(chain) = queue.pop() {
            let head = chain.head_index();
            let written = self.worker.execute(&memory, chain);
            queue.finish(head, written);
        }
        queue.notify();
    }

    fn ready(&mut self, _source: RawFd) {}
}
