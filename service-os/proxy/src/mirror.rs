//! The program's memory in the proxy: the map log, followed.
//!
//! The proxy shows the same pages of guest memory at the same addresses with the same protection as the program sees
//! them, never executable. The kernel then treats the raw arguments of a delegated call exactly as it would treat the
//! program's: a buffer that the program may not write is `EFAULT`.

use std::io;
use std::sync::atomic::Ordering::{Relaxed, Release};

use margay_abi::layout::PAGE;
use margay_abi::maplog::{MapLog, MapOp, RECORDS};
use thiserror::Error;

use crate::extents::Extents;
use crate::guest::GuestMemory;
use crate::range::{Prot, UserRange};
use crate::raw;

/// A record that cannot be followed. The mirror is wrong from then on, so the proxy ends.
#[derive(Debug, Error)]
pub enum MirrorError {
    /// More records than the log has slots: some were overwritten before they were applied.
    #[error("the guest logged {0} records unseen, more than the log holds")]
    Overrun(i32),
    /// A record names something that is not the program's, or no operation.
    #[error(
        "record {seq} is no change of the program's memory: operation {op}, address {addr:#x}, length {len:#x}, guest-physical {gpa:#x}, protection {prot}"
    )]
    Invalid {
        /// Its number.
        seq: u32,
        /// Its operation.
        op: u32,
        /// Its address.
        addr: u64,
        /// Its length.
        len: u64,
        /// Its guest-physical address.
        gpa: u64,
        /// Its protection.
        prot: u32,
    },
    /// Linux did not make the mapping.
    #[error("cannot map {len:#x} bytes at {addr:#x} (limits: ulimit -v, vm.max_map_count)")]
    Linux {
        /// Its address.
        addr: u64,
        /// Its length.
        len: u64,
        /// Why.
        source: io::Error,
    },
}

/// A change that was found valid.
#[derive(Clone, Copy, Debug)]
enum Change {
    Map { range: UserRange, gpa: u64, prot: Prot },
    Unmap { range: UserRange },
    Protect { range: UserRange, prot: Prot },
}

/// The mirror.
#[derive(Debug)]
pub struct Mirror {
    memory: GuestMemory,
    extents: Extents,
    /// Records applied, modulo 2^32.
    applied: u32,
}

impl Mirror {
    /// An empty mirror of `memory`.
    pub fn new(memory: GuestMemory) -> Mirror {
        Mirror { memory, extents: Extents::default(), applied: 0 }
    }

    /// Applies the records before number `seq` that are not applied yet. Does nothing for a `seq` already passed, which
    /// another thread's request may carry.
    ///
    /// # Errors
    /// See [`MirrorError`].
    #[inline]
    pub fn catch_up(&mut self, log: &MapLog, seq: u32) -> Result<(), MirrorError> {
        if seq == self.applied { Ok(()) } else { self.apply_until(log, seq) }
    }

    #[cold]
    fn apply_until(&mut self, log: &MapLog, seq: u32) -> Result<(), MirrorError> {
        let behind = seq.wrapping_sub(self.applied) as i32;
        if behind > RECORDS as i32 {
            return Err(MirrorError::Overrun(behind));
        }
        for _ in 0..behind {
            let change = self.read(log)?;
            self.apply(change)?;
            self.applied = self.applied.wrapping_add(1);
        }
        log.applied.store(self.applied, Release);
        Ok(())
    }

    /// Copies and checks the next record.
    fn read(&self, log: &MapLog) -> Result<Change, MirrorError> {
        let seq = self.applied;
        let record = &log.records[seq as usize % RECORDS];
        let (op, prot) = (record.op.load(Relaxed), record.prot.load(Relaxed));
        let (addr, len, gpa) =
            (record.addr.load(Relaxed), record.len.load(Relaxed), record.gpa.load(Relaxed));
        let check = || {
            let range = UserRange::new(addr, len)?;
            Some(match MapOp::from_u32(op)? {
                MapOp::Map => {
                    let end = gpa.checked_add(len)?;
                    if !gpa.is_multiple_of(PAGE) || end > self.memory.bytes() {
                        return None;
                    }
                    Change::Map { range, gpa, prot: Prot::from_bits(prot)? }
                }
                MapOp::Unmap => Change::Unmap { range },
                MapOp::Protect => Change::Protect { range, prot: Prot::from_bits(prot)? },
            })
        };
        check().ok_or(MirrorError::Invalid { seq, op, addr, len, gpa, prot })
    }

    fn apply(&mut self, change: Change) -> Result<(), MirrorError> {
        let failed = |range: UserRange| {
            move |source| MirrorError::Linux { addr: range.start(), len: range.len(), source }
        };
        match change {
            Change::Map { range, gpa, prot } => {
                raw::map(range, prot, self.memory.file(), gpa).map_err(failed(range))?;
                self.extents.set(range, prot);
            }
            Change::Unmap { range } => {
                raw::unmap(range).map_err(failed(range))?;
                self.extents.clear(range);
            }
            Change::Protect { range, prot } => {
                // Only what is mapped: `mprotect` over a hole fails.
                for part in self.extents.mapped_in(range) {
                    raw::protect(part, prot).map_err(failed(part))?;
                    self.extents.set(part, prot);
                }
            }
        }
        Ok(())
    }

    /// Whether all of `[addr, addr + len)` may be accessed so.
    pub fn allows(&self, addr: u64, len: u64, access: Prot) -> bool {
        self.extents.accessible(addr, len, access) == len
    }

    /// Copies from the program's memory at `addr` as much as is readable and `to` holds. Returns the bytes copied.
    pub fn read_at(&self, addr: u64, to: &mut [u8]) -> usize {
        let len = self.extents.accessible(addr, to.len() as u64, Prot::READ) as usize;
        // SAFETY: these bytes are mapped readable: each extent was mapped by `apply`, nothing else maps or unmaps below
        // `USER_END`, and guest memory does not shrink (it was as long as the record said when it was mapped).
        unsafe { raw::copy_in(addr, &mut to[..len]) };
        len
    }

    /// Copies `from` into the program's memory at `addr`. False, and nothing written, if not all of it may be written.
    pub fn write_at(&self, addr: u64, from: &[u8]) -> bool {
        let writable = self.allows(addr, from.len() as u64, Prot::WRITE);
        if writable {
            // SAFETY: as in `read_at`, writable; and no Rust object of this process lies below `USER_END`.
            unsafe { raw::copy_out(from, addr) };
        }
        writable
    }
}

#[cfg(test)]
mod tests;
