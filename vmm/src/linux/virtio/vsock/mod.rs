//! virtio-vsock (virtio 1.2, 5.10): streams between this process and programs in the guest.
//!
//! The host's side of the usual implementation is the kernel's `vhost-vsock`: a module that must be loaded, a device file to
//! have rights for, context ids that all guests of a machine share. Here the host's side is this process. A connection is a
//! socket pair: [`VsockHost::connect`] gives one end away, the device holds the other and speaks the protocol.
//!
//! ```text
//!  caller <-> host end ==socketpair== device end <-> Connection <-> rx, tx queues <-> driver <-> AF_VSOCK socket
//! ```
//!
//! *Flow control.* From host to guest nothing is stored here: bytes leave the socket pair when the guest has room for them
//! and a buffer for the packet. From guest to host a connection stores at most [`BUF_ALLOC`] bytes, which is all that the
//! guest is told it may send. So a side that does not read stops only its own connection.
//!
//! Only the host connects; whoever connects from the guest is refused.

mod connection;
mod connections;
mod credit;
mod device;
mod end;
mod host;
mod packet;
#[cfg(test)]
mod tests;

pub use device::VsockDevice;
pub use host::VsockHost;

/// The context id of every guest: each has a device, and so a world, of its own.
pub const GUEST_CID: u64 = 3;
/// The host's context id (5.10.4).
pub const HOST_CID: u64 = 2;

/// What the device stores for one connection, in bytes.
const BUF_ALLOC: u32 = 128 << 10;
/// The most bytes that one packet carries either way; as many as Linux puts into one.
const MAX_PAYLOAD: usize = 64 << 10;
/// The most connections at a time.
const MAX_CONNECTIONS: usize = 1024;
