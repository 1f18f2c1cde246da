//! The memory of a channel: one LWK thread's path to its proxy thread.
//!
//! A channel is a virtio 1.2 split virtqueue (section 2.7) with `VIRTIO_F_EVENT_IDX` (2.7.10) and
//! `VIRTIO_F_INDIRECT_DESC` (2.7.5.3), LWK as driver and proxy as device. A thread has at most one call in flight, so the
//! queue has one entry; that lets a whole request share the *one* cache line of the available ring, and a whole
//! reply the one of the used ring. A call then moves two cache lines, as many as the barest ping-pong does.
//!
//! ```text
//! line 0 RequestLine     written by the LWK    avail{flags idx ring[1] used_event} nr map_seq args[6]
//! line 1 ReplyLine       written by the proxy  used{flags idx ring[1] avail_event} ret signals ...
//! line 2 DescriptorLine  written once          table[1] -> indirect{request, reply}
//! ```
//!
//! The queue's chain never changes: descriptor 0 is indirect, and names the request (device-readable) and the reply
//! (device-writable). What makes the bytes of line 0 visible is the release store of `avail.idx`, and of line 1 that
//! of `used.idx`; all other fields are relaxed.

use core::sync::atomic::{AtomicU16, AtomicU32, AtomicU64};

/// Entries of the queue (virtio 1.2 section 2.7: a power of two).
pub const QUEUE_SIZE: u16 = 1;

/// Descriptor flag: the chain goes on at `next` (virtio 1.2 section 2.7.5).
pub const DESC_F_NEXT: u16 = 1;
/// Descriptor flag: the device writes this buffer (virtio 1.2 section 2.7.5).
pub const DESC_F_WRITE: u16 = 2;
/// Descriptor flag: the buffer is a table of descriptors (virtio 1.2 section 2.7.5.3).
pub const DESC_F_INDIRECT: u16 = 4;

/// The available ring of a queue of one entry (virtio 1.2 section 2.7.6). Written only by the LWK.
#[derive(Debug)]
#[repr(C)]
pub struct AvailRing {
    /// Unused with `VIRTIO_F_EVENT_IDX`; zero.
    pub flags: AtomicU16,
    /// Counts requests, modulo 2^16.
    pub idx: AtomicU16,
    /// Head of the chain; always 0.
    pub ring: [AtomicU16; QUEUE_SIZE as usize],
    /// The LWK wants an interrupt when `used.idx` passes this.
    pub used_event: AtomicU16,
}

/// An element of the used ring (virtio 1.2 section 2.7.8).
#[derive(Debug)]
#[repr(C)]
pub struct UsedElem {
    /// Head of the chain that was served; always 0.
    pub id: AtomicU32,
    /// Bytes written into the reply buffer.
    pub len: AtomicU32,
}

/// A request's payload, the device-readable buffer.
#[derive(Debug)]
#[repr(C)]
pub struct RequestBody {
    /// System-call number, or one of [`crate::calls::private`].
    pub nr: AtomicU32,
    /// The proxy must have applied the map log up to here before it makes the call; see [`crate::maplog`].
    pub map_seq: AtomicU32,
    /// The raw arguments, in the order of the registers rdi, rsi, rdx, r10, r8, r9.
    pub args: [AtomicU64; 6],
}

/// A reply's payload, the device-writable buffer.
#[derive(Debug)]
#[repr(C)]
pub struct ReplyBody {
    /// The raw return value: a result, or `-errno`.
    pub ret: AtomicU64,
    /// Signals that the call raised against the caller, bit `n - 1` for signal `n` (`SIGPIPE`).
    pub signals: AtomicU64,
}

/// Cache line 0, written only by the LWK.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct RequestLine {
    /// The available ring.
    pub avail: AvailRing,
    /// The request.
    pub body: RequestBody,
}

/// Cache line 1, written only by the proxy.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct ReplyLine {
    /// Unused with `VIRTIO_F_EVENT_IDX`; zero. With the next three fields the used ring (virtio 1.2 section 2.7.8),
    /// spelled out because a nested `repr(C)` struct would pad `avail_event` to eight bytes.
    pub flags: AtomicU16,
    /// Counts replies, modulo 2^16.
    pub idx: AtomicU16,
    /// The request that was served.
    pub ring: [UsedElem; QUEUE_SIZE as usize],
    /// The proxy wants a doorbell when `avail.idx` passes this.
    pub avail_event: AtomicU16,
    /// Zero.
    pub pad: AtomicU16,
    /// The reply.
    pub body: ReplyBody,
}

/// A descriptor (virtio 1.2 section 2.7.5).
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Descriptor {
    /// Guest-physical address of the buffer.
    pub addr: AtomicU64,
    /// Bytes of the buffer.
    pub len: AtomicU32,
    /// `DESC_F_*`.
    pub flags: AtomicU16,
    /// Next descriptor of the chain, with [`DESC_F_NEXT`].
    pub next: AtomicU16,
}

/// Cache line 2, written by the LWK when it sets the channel up.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct DescriptorLine {
    /// The queue's descriptor table.
    pub table: [Descriptor; QUEUE_SIZE as usize],
    /// The indirect table: request, reply.
    pub indirect: [Descriptor; 2],
}

/// One channel, a page of its own.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct ChannelPage {
    /// Line 0.
    pub request: RequestLine,
    /// Line 1.
    pub reply: ReplyLine,
    /// Line 2.
    pub descriptors: DescriptorLine,
}

/// Bytes of a request's payload.
pub const REQUEST_BYTES: u32 = core::mem::size_of::<RequestBody>() as u32;
/// Bytes of a reply's payload.
pub const REPLY_BYTES: u32 = core::mem::size_of::<ReplyBody>() as u32;
/// Offset of the request's payload in a channel.
pub const REQUEST_OFFSET: u64 = core::mem::offset_of!(ChannelPage, request.body) as u64;
/// Offset of the reply's payload in a channel.
pub const REPLY_OFFSET: u64 = core::mem::offset_of!(ChannelPage, reply.body) as u64;
/// Offset of the indirect table in a channel.
pub const INDIRECT_OFFSET: u64 = core::mem::offset_of!(ChannelPage, descriptors.indirect) as u64;

const _: () = {
    use core::mem::{offset_of, size_of};
    assert!(size_of::<RequestLine>() == 64 && size_of::<ReplyLine>() == 64);
    assert!(offset_of!(RequestLine, body) == 8 && size_of::<RequestBody>() == 56);
    assert!(offset_of!(ReplyLine, ring) == 4 && offset_of!(ReplyLine, avail_event) == 12);
    assert!(offset_of!(ReplyLine, body) == 16 && size_of::<ReplyBody>() == 16);
    assert!(size_of::<Descriptor>() == 16 && size_of::<AvailRing>() == 8);
    assert!(offset_of!(ChannelPage, reply) == 64 && offset_of!(ChannelPage, descriptors) == 128);
};
