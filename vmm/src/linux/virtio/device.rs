//! What a device is to its transport.

use std::os::fd::RawFd;
use std::sync::Arc;

use virtio_queue::Queue;
use vm_memory::GuestMemoryMmap;

/// A virtio device. One thread calls [`VirtioDevice::ready`], vCPU threads the rest; a lock around the device keeps them apart.
///
/// Everything in guest memory is hostile: lengths, addresses and indices are checked by `virtio-queue` and by the device,
/// and what is wrong costs the guest its request or its device, never the VMM.
pub trait VirtioDevice: Send {
    /// Device type (virtio 1.2 section 5).
    fn device_type(&self) -> u32;

    /// Features of the device type that it offers. The transport adds `VIRTIO_F_VERSION_1`.
    fn features(&self) -> u64;

    /// The largest size of each queue, a power of two.
    fn queue_sizes(&self) -> &[u16];

    /// Reads the device's configuration at `offset`. Bytes past its end read as zero.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// The driver is ready: the device takes its queues and may use them until [`VirtioDevice::reset`].
    fn activate(&mut self, activation: Activation);

    /// The driver starts over: gives up queues and requests in flight.
    fn reset(&mut self);

    /// Descriptors to wait for, besides the queues' kicks: fixed from construction on. A device whose descriptors come and
    /// go waits for them with an epoll descriptor of its own, and names that.
    fn sources(&self) -> Vec<RawFd>;

    /// The driver has kicked queue `index`; the transport has taken the kick.
    fn kicked(&mut self, index: usize);

    /// `source` is readable.
    fn ready(&mut self, source: RawFd);
}

/// What a device gets when its driver is ready.
pub struct Activation {
    /// The guest's memory.
    pub memory: GuestMemoryMmap,
    /// Its queues, in the order of [`VirtioDevice::queue_sizes`]; one that the driver left unused is not ready
    /// (`Queue::ready`).
    pub queues: Vec<Queue>,
    /// How to interrupt the driver.
    pub interrupt: Arc<dyn Interrupt>,
    /// Features that driver and device agreed on.
    pub features: u64,
}

/// Interrupts of one device.
pub trait Interrupt: Send + Sync {
    /// Queue `index` has used buffers.
    fn queue(&self, index: usize);
    /// The configuration has changed.
    fn config(&self);
}
