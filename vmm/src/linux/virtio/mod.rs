//! virtio devices (virtio 1.2, OASIS) and how a driver finds and drives them: over PCI (4.1).
//!
//! [`VirtioDevice`] is what a device is; `VirtioPci` makes a function on the PCI bus of one, so that no device knows of
//! registers, interrupts' vectors or the negotiation of features.

mod block;
mod common;
mod console;
mod device;
mod gate;
mod interrupt;
mod net;
mod pci;
mod ring;
mod rng;
mod sys;
#[cfg(test)]
mod testing;
mod vsock;

pub use block::{BlockDevice, BlockError, DiskAccess};
pub use console::ConsoleDevice;
pub use device::{Activation, Interrupt, VirtioDevice};
pub use net::{MacAddress, MacError, NetDevice, NetError, Tap};
pub(super) use pci::{VirtioPci, WINDOW_BYTES};
pub use rng::Rng;
pub use vsock::{GUEST_CID, HOST_CID, VsockDevice, VsockHost};

#[cfg(test)]
mod tests;
