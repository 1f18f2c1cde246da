//! virtio devices (virtio 1.2, OASIS), apart from how a driver finds them: that is [`crate::linux::pci`]'s.

mod device;

pub use device::{Activation, Interrupt, VirtioDevice};
