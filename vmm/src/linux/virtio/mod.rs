//! virtio devices (virtio 1.2, OASIS) and how a driver finds and drives them: over PCI (4.1).
//!
//! [`VirtioDevice`] is what a device is; `VirtioPci` makes a function on the PCI bus of one, so that no device knows of
//! registers, interrupts' vectors or the negotiation of features.

mod common;
mod device;
mod interrupt;
mod pci;
mod rng;

pub use device::{Activation, Interrupt, VirtioDevice};
pub(super) use pci::{VirtioPci, WINDOW_BYTES};
pub use rng::Rng;

#[cfg(test)]
mod tests;
