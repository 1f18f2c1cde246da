//! virtio-net (virtio 1.2, 5.1) on a tap interface: one pair of queues, whole frames, no offloads.
//!
//! The tap interface exists before: making one, giving it an address or putting it on a bridge is its owner's business and
//! needs rights that the VMM should not have.

mod mac;
mod tap;
#[cfg(test)]
mod tests;

use std::io::{ErrorKind, Read, Write};
use std::os::fd::RawFd;

use virtio_queue::Reader;
use vm_memory::GuestMemoryMmap;

use super::device::{Activation, VirtioDevice};
use super::gate::Gate;
use super::ring::{Chain, Ring, read_config};
pub use mac::{MacAddress, MacError};
pub use tap::{NetError, Tap};

/// Device type (virtio 1.2, section 5).
const DEVICE_TYPE: u32 = 1;
/// Queues (5.1.2).
const RX: usize = 0;
const TX: usize = 1;
const QUEUE_SIZES: [u16; 2] = [256, 256];
/// Features (5.1.3).
const F_MAC: u64 = 1 << 5;
/// `struct virtio_net_hdr` with `num_buffers`, as all virtio 1 devices have it (5.1.6). Without offloads, all else is zero.
const HEADER_LEN: usize = 12;
/// Where `num_buffers` is.
const NUM_BUFFERS: usize = 10;
/// The longest frame with its header: what fits an IPv4 packet, and an Ethernet header with a VLAN tag.
const FRAME_MAX: usize = HEADER_LEN + 18 + 0xffff;
/// Frames that are taken from the interface before others have their turn.
const BATCH: usize = 256;

/// A network interface of the guest.
pub struct NetDevice {
    /// The tap interface.
    gate: Gate,
    mac: MacAddress,
    /// A frame on its way, with its header: [`FRAME_MAX`] bytes.
    frame: Box<[u8]>,
    queues: Option<Queues>,
}

struct Queues {
    rx: Ring,
    tx: Ring,
}

impl NetDevice {
    /// An interface with the address `mac`, connected to `tap`.
    ///
    /// # Errors
    /// Out of descriptors.
    pub fn new(tap: Tap, mac: MacAddress) -> Result<NetDevice, NetError> {
        let gate = Gate::new(tap.into_file()).map_err(NetError::Wait)?;
        let frame = vec![0; FRAME_MAX].into_boxed_slice();
        Ok(NetDevice { gate, mac, frame, queues: None })
    }

    /// Sends the guest's frames. What the interface does not take is lost, as on a wire.
    fn transmit(&mut self) {
        let Some(Queues { tx, .. }) = &mut self.queues else { return };
        let memory = tx.memory();
        while let Some(chain) = tx.pop() {
            let head = chain.head_index();
            if let Some(frame) = read_frame(&memory, chain, &mut self.frame) {
                let _ = self.gate.file().write(frame);
            }
            tx.finish(head, 0);
        }
        tx.notify();
    }

    /// Gives the guest frames as long as there are any, and buffers.
    fn receive(&mut self) {
        let Some(Queues { rx, .. }) = &mut self.queues else { return };
        let memory = rx.memory();
        for _ in 0..BATCH {
            let Some(chain) = rx.pop() else {
                self.gate.close();
                break;
            };
            let head = chain.head_index();
            let Ok(mut writer) = chain.writer(&memory) else {
                rx.finish(head, 0);
                continue;
            };
            let len = match self.gate.file().read(&mut self.frame) {
                Ok(len) if len > HEADER_LEN && len <= writer.available_bytes() => len,
                // A frame that does not fit is lost, the buffer is not.
                Ok(1..) => {
                    rx.put_back();
                    continue;
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
                {
                    rx.put_back();
                    break;
                }
                // The interface is gone.
                Ok(0) | Err(_) => {
                    rx.put_back();
                    self.gate.close();
                    break;
                }
            };
            self.frame[..HEADER_LEN].fill(0);
            self.frame[NUM_BUFFERS] = 1;
            // It fits: the room was asked for.
            let _ = writer.write_all(&self.frame[..len]);
            rx.finish(head, writer.bytes_written() as u32);
        }
        rx.notify();
    }
}

/// Reads a frame and its header, both of the guest. `None`: there is no frame, or it is too long.
fn read_frame<'a>(
    memory: &GuestMemoryMmap,
    chain: Chain,
    buffer: &'a mut [u8],
) -> Option<&'a [u8]> {
    let mut reader: Reader<'_> = chain.reader(memory).ok()?;
    let len = reader.available_bytes();
    let frame = buffer.get_mut(..len).filter(|_| len > HEADER_LEN)?;
    reader.read_exact(frame).ok()?;
    // No offload was agreed on, so what the header asks for is not the host's to do.
    frame[..HEADER_LEN].fill(0);
    Some(frame)
}

impl VirtioDevice for NetDevice {
    fn device_type(&self) -> u32 {
        DEVICE_TYPE
    }

    fn features(&self) -> u64 {
        F_MAC
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// `struct virtio_net_config` (5.1.4): only the address.
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config(&self.mac.0, offset, data);
    }

    fn activate(&mut self, activation: Activation) {
        let [rx, tx] = Ring::all(activation);
        self.queues = Some(Queues { rx, tx });
        self.gate.open();
    }

    fn reset(&mut self) {
        self.queues = None;
        self.gate.close();
    }

    fn sources(&self) -> Vec<RawFd> {
        vec![self.gate.source()]
    }

    fn kicked(&mut self, index: usize) {
        match index {
            RX if self.queues.is_some() => self.gate.open(),
            TX => self.transmit(),
            _ => {}
        }
    }

    fn ready(&mut self, _source: RawFd) {
        self.receive();
    }
}
