//! How changes of the program's mappings reach the proxy: an ordered log that travels with the calls.
//!
//! The LWK appends a record for each change and counts them; each request carries the count
//! ([`crate::channel::RequestBody::map_seq`]). Before it makes a call, the proxy applies all records up to that count, so a
//! call always sees the memory that the program saw when it made it. While nothing changes the cost is one comparison.
//!
//! Record `n` lies in slot `n % RECORDS`. The log is full when `RECORDS` records are not yet applied; the LWK then
//! makes an empty call ([`crate::calls::private::SYNC`]) that makes the proxy catch up. `applied` is written only by the
//! proxy, everything else only by the LWK; the release store of `avail.idx` publishes the records.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// Slots of the log: a power of two, so that slots follow each other when the count wraps.
pub const RECORDS: usize = 1024;

/// The kinds of change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum MapOp {
    /// Show guest memory `[gpa, gpa + len)` at `[addr, addr + len)`, replacing what was there.
    Map = 1,
    /// Nothing is at `[addr, addr + len)` any more.
    Unmap = 2,
    /// The mappings in `[addr, addr + len)` have new protections.
    Protect = 3,
}

impl MapOp {
    /// The operation of a record; `None` if the guest wrote something else.
    pub const fn from_u32(value: u32) -> Option<MapOp> {
        match value {
            1 => Some(MapOp::Map),
            2 => Some(MapOp::Unmap),
            3 => Some(MapOp::Protect),
            _ => None,
        }
    }
}

/// One change. Addresses and lengths are multiples of [`crate::layout::PAGE`].
#[derive(Debug, Default)]
#[repr(C)]
pub struct MapRecord {
    /// First byte, in the program's addresses.
    pub addr: AtomicU64,
    /// Bytes.
    pub len: AtomicU64,
    /// Guest-physical address of the first byte, for [`MapOp::Map`].
    pub gpa: AtomicU64,
    /// A [`MapOp`].
    pub op: AtomicU32,
    /// Linux's `PROT_READ` (1) and `PROT_WRITE` (2). The proxy never executes the program's pages.
    pub prot: AtomicU32,
}

/// The log.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct MapLog {
    /// Records that the proxy has applied, modulo 2^32.
    pub applied: AtomicU32,
    /// Keeps the records off the line that the proxy writes.
    pub pad: [u32; 15],
    /// The slots.
    pub records: [MapRecord; RECORDS],
}

const _: () = {
    assert!(core::mem::size_of::<MapRecord>() == 32);
    assert!(core::mem::offset_of!(MapLog, records) == 64 && RECORDS.is_power_of_two());
};
