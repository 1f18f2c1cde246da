//! `madvise`, `mincore`, `msync` and the `mlock` family: calls that mostly only check, because all memory is
//! resident and stays so.

use core::ops::Range;

use margay_abi::Errno;
use margay_abi::layout::PAGE;

use super::{AddressSpace, Kind, Machine, Prot};
use crate::{align_down, align_up};

/// Linux's `MADV_*` (`asm-generic/mman-common.h`).
mod madv {
    pub(super) const DONTNEED: u64 = 4;
    pub(super) const FREE: u64 = 8;
    pub(super) const POPULATE_READ: u64 = 22;
    pub(super) const POPULATE_WRITE: u64 = 23;
    pub(super) const DONTNEED_LOCKED: u64 = 24;

    /// Advice that changes nothing here: NORMAL, RANDOM, SEQUENTIAL, WILLNEED; DONTFORK to KEEPONFORK, COLD,
    /// PAGEOUT; COLLAPSE.
    pub(super) const fn is_hint(advice: u64) -> bool {
        matches!(advice, 0..=3 | 10..=21 | 25)
    }
}

const MS_ASYNC: u64 = 1;
const MS_INVALIDATE: u64 = 2;
const MS_SYNC: u64 = 4;
const MCL_CURRENT: u64 = 1;
const MCL_FUTURE: u64 = 2;
const MCL_ONFAULT: u64 = 4;
const MLOCK_ONFAULT: u64 = 1;

impl<M: Machine> AddressSpace<M> {
    /// `madvise`. `MADV_DONTNEED` clears private anonymous memory at once; what was read from a file it leaves as it is.
    ///
    /// # Errors
    /// As madvise(2): `EINVAL`, and `ENOMEM` if there are holes; the advice is still followed for the rest.
    pub fn madvise(&mut self, addr: u64, bytes: u64, advice: u64) -> Result<(), Errno> {
        let populate = match advice {
            madv::POPULATE_READ => Some(Prot::READ),
            madv::POPULATE_WRITE => Some(Prot::WRITE),
            _ => None,
        };
        let clears = matches!(advice, madv::DONTNEED | madv::DONTNEED_LOCKED);
        if !(madv::is_hint(advice) || clears || populate.is_some() || advice == madv::FREE) {
            return Err(Errno::EINVAL);
        }
        let range = advice_range(addr, bytes)?;
        if let Some(access) = populate {
            return self.check_populate(&range, access);
        }
        if advice == madv::FREE && self.areas.overlapping(&range).any(|a| !is_anonymous(a.kind)) {
            return Err(Errno::EINVAL);
        }
        if clears {
            self.clear_private(&range);
        }
        if self.areas.covers(&range) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// `mincore`: one byte for each page goes to `residency`, which has that many.
    ///
    /// # Errors
    /// As mincore(2): `EINVAL`, and `ENOMEM` on holes.
    pub fn mincore(&self, addr: u64, residency: &mut [u8]) -> Result<(), Errno> {
        if !addr.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        let bytes = (residency.len() as u64).checked_mul(PAGE).ok_or(Errno::ENOMEM)?;
        let range = addr..addr.checked_add(bytes).ok_or(Errno::ENOMEM)?;
        if !self.areas.covers(&range) {
            return Err(Errno::ENOMEM);
        }
        residency.fill(0);
        let mut rest = range;
        while let Some(extent) = self.table.next_extent(&self.machine, &mut rest) {
            let first = ((extent.virt - addr) / PAGE) as usize;
            residency[first..first + (extent.bytes / PAGE) as usize].fill(1);
        }
        Ok(())
    }

    /// `msync`: there is nothing to write back.
    ///
    /// # Errors
    /// As msync(2): `EINVAL`, and `ENOMEM` on holes.
    pub fn msync(&self, addr: u64, bytes: u64, flags: u64) -> Result<(), Errno> {
        let both = flags & MS_ASYNC != 0 && flags & MS_SYNC != 0;
        if flags & !(MS_ASYNC | MS_INVALIDATE | MS_SYNC) != 0 || both || !addr.is_multiple_of(PAGE)
        {
            return Err(Errno::EINVAL);
        }
        let bytes = align_up(bytes, PAGE).unwrap_or(0);
        let end = addr.checked_add(bytes).ok_or(Errno::ENOMEM)?;
        if self.areas.covers(&(addr..end)) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// `mlock` and `mlock2`: memory is always locked.
    ///
    /// # Errors
    /// As mlock(2): `EINVAL`, and `ENOMEM` on holes and on memory that cannot be accessed.
    pub fn mlock(&self, addr: u64, bytes: u64, flags: u64) -> Result<(), Errno> {
        if flags & !MLOCK_ONFAULT != 0 {
            return Err(Errno::EINVAL);
        }
        let range = lock_range(addr, bytes)?;
        let closed = self.areas.overlapping(&range).any(|area| area.prot.is_empty());
        if self.areas.covers(&range) && !closed { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// `munlock`: memory stays locked.
    ///
    /// # Errors
    /// As munlock(2): `EINVAL`, and `ENOMEM` on holes.
    pub fn munlock(&self, addr: u64, bytes: u64) -> Result<(), Errno> {
        let range = lock_range(addr, bytes)?;
        if self.areas.covers(&range) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    /// `mlockall`: everything is locked.
    ///
    /// # Errors
    /// As mlockall(2): `EINVAL`.
    pub fn mlockall(&self, flags: u64) -> Result<(), Errno> {
        let known = MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT;
        if flags & (MCL_CURRENT | MCL_FUTURE) == 0 || flags & !known != 0 {
            return Err(Errno::EINVAL);
        }
        Ok(())
    }

    fn check_populate(&self, range: &Range<u64>, access: Prot) -> Result<(), Errno> {
        if !self.areas.covers(range) {
            Err(Errno::ENOMEM)
        } else if self.is_mapped(range.start, range.end - range.start, access) {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    fn clear_private(&mut self, range: &Range<u64>) {
        let mut at = range.start;
        loop {
            let Some(&area) = self.areas.overlapping(&(at..range.end)).next() else { break };
            let part = at.max(area.start)..range.end.min(area.end);
            at = part.end;
            if is_anonymous(area.kind) {
                self.clear(part);
            }
        }
    }
}

/// Private memory that is not read from anywhere.
const fn is_anonymous(kind: Kind) -> bool {
    matches!(kind, Kind::Anonymous | Kind::Heap | Kind::Stack)
}

fn advice_range(addr: u64, bytes: u64) -> Result<Range<u64>, Errno> {
    if !addr.is_multiple_of(PAGE) {
        return Err(Errno::EINVAL);
    }
    let bytes = align_up(bytes, PAGE).ok_or(Errno::EINVAL)?;
    Ok(addr..addr.checked_add(bytes).ok_or(Errno::EINVAL)?)
}

/// The pages that `[addr, addr + bytes)` touches.
fn lock_range(addr: u64, bytes: u64) -> Result<Range<u64>, Errno> {
    let start = align_down(addr, PAGE);
    let bytes = bytes.checked_add(addr - start).and_then(|bytes| align_up(bytes, PAGE));
    let end = start.checked_add(bytes.ok_or(Errno::EINVAL)?).ok_or(Errno::EINVAL)?;
    Ok(start..end)
}
