//! The two halves of a call channel: how a system call leaves the LWK and how its result comes back.
//!
//! A delegated call should cost what moving two cache lines from core to core and back costs, and still be a queue that any
//! virtio device could serve. So the channel is a virtio 1.2 split virtqueue of one entry, laid out by
//! [`margay_abi::channel`] so that a request is one cache line and a reply another. The LWK is the [`Driver`], the proxy the
//! [`Device`]; a [`Relay`] is the VMM's look at the same page on the hypercall path.
//!
//! # Waiting
//!
//! Either side may poll or sleep, and says which by its event index (virtio 1.2 section 2.7.10), in the line that it
//! writes anyway. While a side polls, its event index *trails* the other side's index by one: a position already
//! passed, which is never passed again before the index is moved on with the next request or reply. Nothing has to
//! be undone after a sleep, and no index stands still until the 16-bit counter comes round to it and raises an event
//! that nobody wants. To sleep, a side brings its event index *level* (`arm`), makes a full fence and looks once more;
//! the private module `handshake` argues why no wake-up is lost.
//!
//! # Trust
//!
//! The device believes nothing that it reads: see [`RingError`]. The driver trusts the device, which has its memory
//! in its hands anyway.
//!
//! # Cache lines
//!
//! The hot round trip writes line 0 (driver) and line 1 (device). The descriptor line is written once and then
//! shared by both cores' caches. `avail.ring`, the used element and both `flags` are constant, and so never written again.

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod device;
mod driver;
mod handshake;
mod relay;

pub use device::{Device, Part, RingError};
pub use driver::Driver;
pub use relay::Relay;

/// A call, as it travels to the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Request {
    /// System-call number, or one of [`margay_abi::calls::private`].
    pub nr: u32,
    /// How many map-log records the proxy must have applied first, modulo 2^32.
    pub map_seq: u32,
    /// Raw arguments: rdi, rsi, rdx, r10, r8, r9.
    pub args: [u64; 6],
}

/// What became of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reply {
    /// Raw return value: a result, or `-errno`.
    pub ret: u64,
    /// Signals that the call raised against the caller, bit `n - 1` for signal `n`.
    pub signals: u64,
}
