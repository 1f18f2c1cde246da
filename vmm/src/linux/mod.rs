//! One stock Linux guest: a service VM, or the peer that an LWK is compared with.

pub mod virtio;
