//! A virtio device as a function on the PCI bus (virtio 1.2, 4.1): its configuration space, and what its window holds.
//!
//! ```text
//! 0x0000  common configuration         0x3000  notifications, 4 bytes for each queue
//! 0x1000  ISR status                   0x4000  MSI-X table
//! 0x2000  device configuration         0x5000  MSI-X pending bits
//! ```

use std::io;
use std::ops::Deref;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vm_memory::GuestMemoryMmap;
use vmm_sys_util::eventfd::EventFd;

use super::common::Common;
use super::device::VirtioDevice;
use super::interrupt::VirtioInterrupt;
use crate::linux::pci::{
    ConfigSpace, Function, Identity, MSIX_CAPABILITY, MSIX_ENTRY_BYTES, Messages, Msix, Window,
};

/// Bytes of a device's window.
pub const WINDOW_BYTES: u32 = 0x8000;
/// Bytes between two structures in the window.
const STRUCTURE: u64 = 0x1000;
const COMMON: u64 = 0;
const ISR: u64 = 1;
const DEVICE: u64 = 2;
const NOTIFY: u64 = 3;
const MSIX_TABLE: u64 = 4;
const MSIX_PENDING: u64 = 5;
/// `notify_off_multiplier`.
const NOTIFY_STRIDE: u64 = 4;
/// Most queues of a device: as many vectors as the table's page holds, less that of the configuration.
const MAX_QUEUES: usize = (STRUCTURE / MSIX_ENTRY_BYTES) as usize - 1;

/// The vendor-specific capability of PCI, whose contents are virtio's (4.1.4).
const VENDOR_CAPABILITY: u8 = 0x09;
/// `VIRTIO_PCI_CAP_PCI_CFG` (4.1.4.9).
const PCI_ACCESS: u8 = 5;
/// Offsets in that capability: bar, offset, length, data.
const ACCESS_BAR: usize = 4;
const ACCESS_OFFSET: usize = 8;
const ACCESS_LENGTH: usize = 12;
const ACCESS_DATA: usize = 16;

/// A virtio device on the PCI bus.
pub struct VirtioPci<M> {
    window: Window,
    config: Mutex<ConfigSpace>,
    /// Where the capability `VIRTIO_PCI_CAP_PCI_CFG` is in the configuration space, and MSI-X.
    access: usize,
    msix_at: usize,
    common: Mutex<Common<M>>,
    interrupt: Arc<VirtioInterrupt<M>>,
    msix: Arc<Msix<M>>,
    kicks: Vec<EventFd>,
}

impl<M: Deref<Target: Messages> + Send + Sync + 'static> VirtioPci<M> {
    /// Puts `device` on the bus at `window_start`, a multiple of [`WINDOW_BYTES`]. It works on `memory` and interrupts through
    /// `messages`.
    ///
    /// # Errors
    /// Where there is no descriptor left for a queue's kick.
    pub fn new(
        device: Box<dyn VirtioDevice>,
        memory: GuestMemoryMmap,
        messages: M,
        window_start: u32,
    ) -> io::Result<VirtioPci<M>> {
        let queues = device.queue_sizes().len();
        assert!(queues <= MAX_QUEUES, "no device type has that many queues");
        let kick = |_| EventFd::new(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
        let kicks = (0..queues).map(kick).collect::<io::Result<_>>()?;
        let window = Window { start: window_start, bytes: WINDOW_BYTES };
        let mut config = ConfigSpace::new(identity(device.device_type()), Some(window));
        let vectors = queues + 1;
        let access = add_virtio_capabilities(&mut config, queues);
        let msix_at = add_msix_capability(&mut config, vectors);
        let msix = Arc::new(Msix::new(messages, vectors));
        let interrupt = Arc::new(VirtioInterrupt::new(Arc::clone(&msix), queues));
        let common = Mutex::new(Common::new(device, memory, Arc::clone(&interrupt)));
        let config = Mutex::new(config);
        Ok(VirtioPci { window, config, access, msix_at, common, interrupt, msix, kicks })
    }

    /// The eventfds that a driver's notifications ring, each with its guest-physical address, for KVM.
    pub fn kicks(&self) -> impl Iterator<Item = (u64, &EventFd)> {
        let first = u64::from(self.window.start) + NOTIFY * STRUCTURE;
        (first..).step_by(NOTIFY_STRIDE as usize).zip(&self.kicks)
    }

    /// Descriptors that the device waits for.
    pub fn sources(&self) -> Vec<RawFd> {
        self.common().device.sources()
    }

    /// Queue `index` was kicked, and its eventfd is readable.
    pub fn kicked(&self, index: usize) {
        // Empty where another event has taken it: nothing is lost, the device looks at the whole queue.
        let _ = self.kicks[index].read();
        let mut common = self.common();
        if common.active() {
            common.device.kicked(index);
        }
    }

    /// `source` is readable.
    pub fn ready(&self, source: RawFd) {
        self.common().device.ready(source);
    }

    fn common(&self) -> MutexGuard<'_, Common<M>> {
        // A device that panicked has ended its guest.
        self.common.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self) -> MutexGuard<'_, ConfigSpace> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The access to the window that the guest describes in the configuration space, if `offset` is where its data goes: the
    /// window's offset and the bytes.
    fn indirect(&self, offset: usize) -> Option<(u64, usize)> {
        if offset != self.access + ACCESS_DATA {
            return None;
        }
        let config = self.config();
        let bar = config.word(self.access + ACCESS_BAR) as u8;
        let at = u64::from(config.dword(self.access + ACCESS_OFFSET));
        let length = config.dword(self.access + ACCESS_LENGTH) as usize;
        let legal = bar == 0 && matches!(length, 1 | 2 | 4) && at < u64::from(WINDOW_BYTES);
        legal.then_some((at, length))
    }
}

impl<M: Deref<Target: Messages> + Send + Sync + 'static> Function for VirtioPci<M> {
    fn read_config(&self, offset: usize, data: &mut [u8]) {
        match self.indirect(offset) {
            Some((at, length)) if length <= data.len() => {
                data.fill(0);
                self.read_memory(at, &mut data[..length]);
            }
            _ => self.config().read(offset, data),
        }
    }

    fn write_config(&self, offset: usize, data: &[u8]) {
        match self.indirect(offset) {
            Some((at, length)) if length <= data.len() => self.write_memory(at, &data[..length]),
            _ => {
                let mut config = self.config();
                config.write(offset, data);
                let control = config.word(self.msix_at + 2);
                drop(config);
                self.msix.set_control(control);
            }
        }
    }

    fn window(&self) -> Option<Window> {
        self.config().decoded()
    }

    fn read_memory(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let within = offset % STRUCTURE;
        match offset / STRUCTURE {
            COMMON if data.len() <= 8 => {
                let value = self.common().read(within, data.len()).to_le_bytes();
                data.copy_from_slice(&value[..data.len()]);
            }
            ISR if within == 0 => {
                if let Some(first) = data.first_mut() {
                    *first = self.interrupt.take_isr();
                }
            }
            DEVICE => self.common().device.read_config(within, data),
            MSIX_TABLE => self.msix.read_table(within, data),
            MSIX_PENDING => self.msix.read_pending(within, data),
            _ => {}
        }
    }

    fn write_memory(&self, offset: u64, data: &[u8]) {
        let within = offset % STRUCTURE;
        match offset / STRUCTURE {
            COMMON if data.len() <= 8 => {
                let mut value = [0; 8];
                value[..data.len()].copy_from_slice(data);
                self.common().write(within, data.len(), u64::from_le_bytes(value));
            }
            // Where the write does not match KVM's ioeventfd: by way of the configuration space.
            NOTIFY => {
                if let Some(kick) = self.kicks.get((within / NOTIFY_STRIDE) as usize) {
                    // A full counter has kicked already.
                    let _ = kick.write(1);
                }
            }
            MSIX_TABLE => self.msix.write_table(within, data),
            _ => {}
        }
    }
}

/// A transitional driver must not take the device for an old one, hence the revision (4.1.2.1).
fn identity(device_type: u32) -> Identity {
    const VENDOR: u16 = 0x1af4;
    const FIRST_DEVICE: u16 = 0x1040;
    let class = match device_type {
        1 => [0x02, 0x00, 0x00],
        2 => [0x01, 0x80, 0x00],
        3 | 19 => [0x07, 0x80, 0x00],
        _ => [0xff, 0x00, 0x00],
    };
    // Types are small numbers: those of virtio 1.2 end at 45.
    let kind = device_type as u16;
    Identity {
        id: (VENDOR, FIRST_DEVICE + kind),
        subsystem: (VENDOR, FIRST_DEVICE + kind),
        class,
        revision: 1,
    }
}

/// Adds `struct virtio_pci_cap` for each structure (4.1.4); returns where the last is, the access by configuration space.
fn add_virtio_capabilities(config: &mut ConfigSpace, queues: usize) -> usize {
    let body = |kind: u8, structure: u64, length: u64, more: &[u8]| {
        let mut body = vec![16 + more.len() as u8, kind, 0, 0, 0, 0];
        body.extend(((structure * STRUCTURE) as u32).to_le_bytes());
        body.extend((length as u32).to_le_bytes());
        body.extend(more);
        body
    };
    let notify_bytes = NOTIFY_STRIDE * queues as u64;
    let fixed = [
        body(1, COMMON, 0x40, &[]),
        body(2, NOTIFY, notify_bytes, &(NOTIFY_STRIDE as u32).to_le_bytes()),
        body(3, ISR, 1, &[]),
        body(4, DEVICE, STRUCTURE, &[]),
    ];
    for body in fixed {
        config.add_capability(VENDOR_CAPABILITY, &body, &vec![0; body.len()]);
    }
    let mut writable = [0xff; ACCESS_DATA + 2];
    writable[..2].fill(0);
    config.add_capability(VENDOR_CAPABILITY, &body(PCI_ACCESS, 0, 0, &[0; 4]), &writable)
}

/// Adds the MSI-X capability (PCI Local Bus 3.0, 6.8.2); returns where it is.
fn add_msix_capability(config: &mut ConfigSpace, vectors: usize) -> usize {
    let mut body = Vec::new();
    body.extend((vectors as u16 - 1).to_le_bytes());
    body.extend(((MSIX_TABLE * STRUCTURE) as u32).to_le_bytes());
    body.extend(((MSIX_PENDING * STRUCTURE) as u32).to_le_bytes());
    let mut writable = [0; 10];
    // Enable and mask all.
    writable[1] = 0xc0;
    config.add_capability(MSIX_CAPABILITY, &body, &writable)
}

#[cfg(test)]
mod tests;
