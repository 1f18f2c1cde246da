//! `mremap`: growing, shrinking and moving an area without copying a byte.

use alloc::vec::Vec;
use core::ops::Range;

use margay_abi::Errno;
use margay_abi::layout::{PAGE, USER_END, USER_START};

use super::mmap::TASK_SIZE;
use super::{AddressSpace, Area, Kind, Machine};
use crate::align_up;
use crate::paging::{Edit, Extent, SPLIT_TABLES};

const MREMAP_MAYMOVE: u64 = 1;
const MREMAP_FIXED: u64 = 2;

/// A checked request: page-aligned, no overflow.
struct Request {
    old: Range<u64>,
    new_bytes: u64,
    /// Where it must go.
    fixed: Option<u64>,
    may_move: bool,
}

impl<M: Machine> AddressSpace<M> {
    /// `mremap`. Returns where the memory is now.
    ///
    /// # Errors
    /// As mremap(2): `EINVAL` (also for `MREMAP_DONTUNMAP`, and for an old length of 0, which would map shared memory
    /// twice), `EFAULT` where the old memory is not one area, `ENOMEM`, `EPERM` below [`USER_START`].
    pub fn mremap(
        &mut self,
        addr: u64,
        old_bytes: u64,
        new_bytes: u64,
        flags: u64,
        new_addr: u64,
    ) -> Result<u64, Errno> {
        let request = Request::check(addr, old_bytes, new_bytes, flags, new_addr)?;
        self.areas.at(addr).ok_or(Errno::EFAULT)?;
        let old_bytes = request.old.end - request.old.start;
        if let Some(target) = request.fixed {
            let kept = addr..request.old.end.min(addr + request.new_bytes);
            let area = self.remappable(&kept)?;
            self.relocate(&area, request.old, target..target + request.new_bytes)?;
            return Ok(target);
        }
        if request.new_bytes <= old_bytes {
            if request.new_bytes < old_bytes {
                self.munmap(addr + request.new_bytes, old_bytes - request.new_bytes)?;
            }
            return Ok(addr);
        }
        let area = self.remappable(&request.old)?;
        let grown = addr..addr + request.new_bytes;
        let extension = request.old.end..grown.end;
        if area.end == request.old.end && grown.end <= USER_END && self.areas.is_free(&extension) {
            self.extend(&area, extension)?;
            return Ok(addr);
        }
        if !request.may_move {
            return Err(Errno::ENOMEM);
        }
        let target = self.find_high(request.new_bytes, PAGE).ok_or(Errno::ENOMEM)?;
        self.relocate(&area, request.old, target..target + request.new_bytes)?;
        Ok(target)
    }

    /// The one area that all of `old` lies in.
    fn remappable(&self, old: &Range<u64>) -> Result<Area, Errno> {
        let area = *self.areas.at(old.start).ok_or(Errno::EFAULT)?;
        if old.is_empty() {
            Err(Errno::EINVAL)
        } else if old.end > area.end {
            Err(Errno::EFAULT)
        } else {
            Ok(area)
        }
    }

    /// Adds `extension` to `area`, right behind it.
    fn extend(&mut self, area: &Area, extension: Range<u64>) -> Result<(), Errno> {
        self.check_room(&extension)?;
        self.release_ahead(&extension)?;
        let pieces = self.acquire_all(&extension, area.prot)?;
        self.commit(pieces);
        self.settle();
        self.areas.insert(Area { start: extension.start, end: extension.end, ..*area });
        Ok(())
    }

    /// Moves `old` to `new` and replaces what is there. If `new` is longer, the rest is new memory as in
    /// `area`, where `old` begins; if it is shorter, the rest of `old` is unmapped.
    fn relocate(&mut self, area: &Area, old: Range<u64>, new: Range<u64>) -> Result<(), Errno> {
        // At most two areas more by cutting `new`, and the moved one.
        if !self.areas.has_room(&old, 3) {
            return Err(Errno::ENOMEM);
        }
        self.release_ahead(&new)?;
        self.release_ahead(&old)?;
        let kept = old.start..old.end.min(old.start + (new.end - new.start));
        let moved = self.moved_extents(&kept, new.start)?;
        let extension = new.start + (kept.end - kept.start)..new.end;
        let pieces = self.acquire_all(&extension, area.prot)?;
        // Pages may have to be split where `new` is cut out, where `kept` is, and where what is behind `kept` is.
        let tables = self.table.demand_anew(&self.machine, &moved)
            + self.table.demand_anew(&self.machine, &pieces)
            + 3 * SPLIT_TABLES;
        let pieces = self.reserve_or_abandon(tables, pieces)?;

        self.discard(new.clone());
        moved.iter().for_each(|extent| self.log_map(extent));
        self.log_unmap(kept.clone());
        self.table.edit(&mut self.machine, new.clone(), Edit::Map(&moved));
        self.table.edit(&mut self.machine, kept.clone(), Edit::Clear);
        self.discard(kept.end..old.end);
        self.commit(pieces);
        self.settle();
        self.areas.remove(&old);
        self.areas.remove(&new);
        let kind = if area.kind == Kind::Heap { Kind::Anonymous } else { area.kind };
        self.areas.insert(Area { start: new.start, end: new.end, kind, ..*area });
        Ok(())
    }

    /// The extents of `kept` as they will be from `target` on.
    fn moved_extents(&self, kept: &Range<u64>, target: u64) -> Result<Vec<Extent>, Errno> {
        let mut moved = Vec::new();
        let mut rest = kept.clone();
        while let Some(extent) = self.table.next_extent(&self.machine, &mut rest) {
            moved.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
            moved.push(Extent { virt: target + (extent.virt - kept.start), ..extent });
        }
        Ok(moved)
    }
}

impl Request {
    fn check(
        addr: u64,
        old_bytes: u64,
        new_bytes: u64,
        flags: u64,
        new_addr: u64,
    ) -> Result<Request, Errno> {
        let may_move = flags & MREMAP_MAYMOVE != 0;
        let fixed = flags & MREMAP_FIXED != 0;
        if flags & !(MREMAP_MAYMOVE | MREMAP_FIXED) != 0 || (fixed && !may_move) {
            return Err(Errno::EINVAL);
        }
        let old_bytes = align_up(old_bytes, PAGE).ok_or(Errno::EINVAL)?;
        let new_bytes = align_up(new_bytes, PAGE).ok_or(Errno::EINVAL)?;
        let old_end = addr.checked_add(old_bytes).ok_or(Errno::EINVAL)?;
        if !addr.is_multiple_of(PAGE) || new_bytes == 0 {
            return Err(Errno::EINVAL);
        }
        if new_bytes > USER_END {
            return Err(Errno::ENOMEM);
        }
        let request =
            Request { old: addr..old_end, new_bytes, fixed: fixed.then_some(new_addr), may_move };
        if let Some(target) = request.fixed {
            request.check_target(target)?;
        }
        Ok(request)
    }

    fn check_target(&self, target: u64) -> Result<(), Errno> {
        let fits = target <= TASK_SIZE && self.new_bytes <= TASK_SIZE - target;
        if !target.is_multiple_of(PAGE) || !fits {
            return Err(Errno::EINVAL);
        }
        if self.old.end > target && target + self.new_bytes > self.old.start {
            return Err(Errno::EINVAL);
        }
        if target < USER_START {
            return Err(Errno::EPERM);
        }
        if target + self.new_bytes > USER_END { Err(Errno::ENOMEM) } else { Ok(()) }
    }
}
