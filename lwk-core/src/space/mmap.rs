//! `mmap` and `munmap`.

use core::ops::Range;

use bitflags::bitflags;
use margay_abi::Errno;
use margay_abi::layout::{HUGE_PAGE, LARGE_PAGE, PAGE, USER_END, USER_START};

use super::area::user_range;
use super::backing::Borrowed;
use super::{AddressSpace, Area, Kind, Machine, Prot, page_flags};
use crate::paging::{Extent, PageFlags, SPLIT_TABLES};
use crate::{align_down, align_up};

bitflags! {
    /// Linux's `MAP_*` that mean something here (`asm-generic/mman.h`, x86); the others, as `MAP_NORESERVE` and
    /// `MAP_POPULATE`, change nothing where memory is mapped eagerly.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct MapFlags: u64 {
        /// `MAP_SHARED`.
        const SHARED = 0x01;
        /// `MAP_PRIVATE`.
        const PRIVATE = 0x02;
        /// All bits of the type.
        const TYPE = 0x0f;
        /// `MAP_FIXED`.
        const FIXED = 0x10;
        /// `MAP_ANONYMOUS`.
        const ANONYMOUS = 0x20;
        /// `MAP_32BIT`.
        const LOW_2G = 0x40;
        /// `MAP_GROWSDOWN`.
        const GROWSDOWN = 0x100;
        /// `MAP_HUGETLB`.
        const HUGETLB = 0x4_0000;
        /// `MAP_FIXED_NOREPLACE`.
        const FIXED_NOREPLACE = 0x10_0000;
    }
}

/// `MAP_HUGE_SHIFT` and `MAP_HUGE_MASK`: where `MAP_HUGETLB` has the page size, as a power of two.
const HUGE_SHIFT: u64 = 26;
const HUGE_MASK: u64 = 0x3f;
/// Where `MAP_32BIT` places memory.
const LOW: Range<u64> = 0x4000_0000..0x8000_0000;
/// Linux's `TASK_SIZE` with four-level page tables.
pub(super) const TASK_SIZE: u64 = 0x7fff_ffff_f000;

impl<M: Machine> AddressSpace<M> {
    /// `mmap` with `MAP_ANONYMOUS`. The caller has checked that the offset is a multiple of a page.
    ///
    /// # Errors
    /// As mmap(2): `EINVAL`, `ENOMEM`, `EEXIST`, and `EPERM` below [`USER_START`].
    pub fn mmap(&mut self, addr: u64, bytes: u64, prot: u64, flags: u64) -> Result<u64, Errno> {
        let prot = Prot::from_bits_truncate(prot as u32);
        let (range, shared) = self.place(addr, bytes, flags)?;
        let kind = if shared { Kind::Shared } else { Kind::Anonymous };
        self.map_area(Area::new(range.clone(), prot, kind))?;
        Ok(range.start)
    }

    /// `mmap` of a file, as far as memory goes: zeroed memory of [`Kind::Image`] that the program may read and write. The
    /// caller reads the file into it and then sets the right protection with [`Self::mprotect`].
    ///
    /// # Errors
    /// As [`Self::mmap`].
    pub fn mmap_file(&mut self, addr: u64, bytes: u64, flags: u64) -> Result<Range<u64>, Errno> {
        let (range, _) = self.place(addr, bytes, flags & !MapFlags::HUGETLB.bits())?;
        self.map_area(Area::new(range.clone(), Prot::READ | Prot::WRITE, Kind::Image))?;
        Ok(range)
    }

    /// Maps zeroed memory at `range`, for what the LWK itself places: the program, its stack, the vDSO, stubs.
    ///
    /// # Errors
    /// `EINVAL` if the range is empty or not of whole pages, `ENOMEM` if there is no memory or it is not the program's,
    /// `EEXIST` if something is there.
    pub fn map_fixed(&mut self, range: Range<u64>, prot: Prot, kind: Kind) -> Result<(), Errno> {
        self.check_new(&range)?;
        self.map_area(Area::new(range, prot, kind))
    }

    /// Maps physical memory that is not the program's, and never will be freed by it, at `range`.
    ///
    /// # Errors
    /// As [`Self::map_fixed`].
    pub fn map_borrowed(
        &mut self,
        range: Range<u64>,
        gpa: u64,
        prot: Prot,
        kind: Kind,
    ) -> Result<(), Errno> {
        self.check_new(&range)?;
        self.release_ahead(&range)?;
        let flags = page_flags(prot) | PageFlags::BORROWED;
        let bytes = range.end - range.start;
        let extent = Extent { virt: range.start, phys: gpa, bytes, flags };
        self.table.map(&mut self.machine, extent)?;
        self.log_map(&extent);
        self.settle();
        self.areas.insert(Area::new(range, prot, kind));
        Ok(())
    }

    /// `munmap`.
    ///
    /// # Errors
    /// As munmap(2): `EINVAL`, and `ENOMEM` if there would be too many areas or there is no memory to split a page.
    pub fn munmap(&mut self, addr: u64, bytes: u64) -> Result<(), Errno> {
        if !addr.is_multiple_of(PAGE) || addr > TASK_SIZE || bytes > TASK_SIZE - addr {
            return Err(Errno::EINVAL);
        }
        let range = addr..addr + align_up(bytes, PAGE).ok_or(Errno::EINVAL)?;
        if range.is_empty() {
            return Err(Errno::EINVAL);
        }
        self.vacate(range)
    }

    /// Removes areas and pages of `range`.
    pub(super) fn vacate(&mut self, range: Range<u64>) -> Result<(), Errno> {
        if !self.areas.has_room(&range, 0) {
            return Err(Errno::ENOMEM);
        }
        self.release_ahead(&range)?;
        if self.areas.is_free(&range) {
            return Ok(());
        }
        self.table.reserve(&mut self.machine, SPLIT_TABLES)?;
        self.discard(range.clone());
        self.settle();
        self.areas.remove(&range);
        Ok(())
    }

    /// The place for new memory: by address and flags as in mmap(2), and whether it is shared.
    fn place(&self, addr: u64, bytes: u64, flags: u64) -> Result<(Range<u64>, bool), Errno> {
        let unit = page_unit(flags)?;
        let flags = MapFlags::from_bits_truncate(flags);
        if bytes == 0 {
            return Err(Errno::EINVAL);
        }
        let bytes =
            align_up(bytes, unit).filter(|&bytes| bytes <= USER_END).ok_or(Errno::ENOMEM)?;
        let fixed = flags.intersects(MapFlags::FIXED | MapFlags::FIXED_NOREPLACE);
        let start = if fixed {
            check_fixed(addr, bytes, unit)?
        } else {
            self.find_place(align_down(addr, PAGE), bytes, flags, unit).ok_or(Errno::ENOMEM)?
        };
        let range = start..start + bytes;
        if flags.contains(MapFlags::FIXED_NOREPLACE) && !self.areas.is_free(&range) {
            return Err(Errno::EEXIST);
        }
        match flags & MapFlags::TYPE {
            MapFlags::PRIVATE => Ok((range, false)),
            MapFlags::SHARED if !flags.contains(MapFlags::GROWSDOWN) => Ok((range, true)),
            _ => Err(Errno::EINVAL),
        }
    }

    /// A free place for `bytes`: at `hint` if it can be, else as high as can be, aligned for the largest pages.
    fn find_place(&self, hint: u64, bytes: u64, flags: MapFlags, unit: u64) -> Option<u64> {
        if hint != 0
            && let Some(range) = user_range(hint.max(USER_START), bytes)
            && range.start.is_multiple_of(unit)
            && (range.end <= LOW.end || !flags.contains(MapFlags::LOW_2G))
            && self.areas.is_free(&range)
        {
            return Some(range.start);
        }
        if flags.contains(MapFlags::LOW_2G) {
            return self.areas.highest_gap(bytes, unit, &LOW);
        }
        self.find_high(bytes, unit)
    }

    /// The highest free place for `bytes` below the top, aligned to `unit` and, if there is one, for the
    /// largest pages.
    pub(super) fn find_high(&self, bytes: u64, unit: u64) -> Option<u64> {
        let largest = match bytes {
            HUGE_PAGE.. => HUGE_PAGE,
            LARGE_PAGE.. => LARGE_PAGE,
            _ => PAGE,
        };
        let within = USER_START..self.mmap_top;
        let aligned = self.areas.highest_gap(bytes, largest.max(unit), &within);
        aligned.or_else(|| self.areas.highest_gap(bytes, unit, &within))
    }

    /// Makes `area` what is at its addresses. Frames that are there already are cleared and used again.
    fn map_area(&mut self, area: Area) -> Result<(), Errno> {
        let range = area.range();
        self.check_room(&range)?;
        if area.prot.is_empty() {
            self.vacate(range)?;
            self.areas.insert(area);
            return Ok(());
        }
        self.release_ahead(&range)?;
        let holes = self.holes(&range, Borrowed::IsHole);
        let pieces = self.acquire(&holes, area.prot)?;
        self.clear(range.clone());
        self.reprotect(range.clone(), area.prot);
        self.commit(pieces);
        self.settle();
        self.areas.remove(&range);
        self.areas.insert(area);
        Ok(())
    }

    pub(super) fn check_room(&self, range: &Range<u64>) -> Result<(), Errno> {
        if self.areas.has_room(range, 1) { Ok(()) } else { Err(Errno::ENOMEM) }
    }

    fn check_new(&self, range: &Range<u64>) -> Result<(), Errno> {
        let whole = range.start.is_multiple_of(PAGE) && range.end.is_multiple_of(PAGE);
        if range.is_empty() || !whole {
            return Err(Errno::EINVAL);
        }
        user_range(range.start, range.end - range.start).ok_or(Errno::ENOMEM)?;
        if !self.areas.is_free(range) {
            return Err(Errno::EEXIST);
        }
        self.check_room(range)
    }
}

/// The size in whose multiples memory is given: a base page, or what `MAP_HUGETLB` says.
fn page_unit(flags: u64) -> Result<u64, Errno> {
    if flags & MapFlags::HUGETLB.bits() == 0 {
        return Ok(PAGE);
    }
    match 1_u64 << (flags >> HUGE_SHIFT & HUGE_MASK) {
        1 | LARGE_PAGE => Ok(LARGE_PAGE),
        HUGE_PAGE => Ok(HUGE_PAGE),
        _ => Err(Errno::EINVAL),
    }
}

fn check_fixed(addr: u64, bytes: u64, unit: u64) -> Result<u64, Errno> {
    if addr > USER_END || bytes > USER_END - addr {
        Err(Errno::ENOMEM)
    } else if !addr.is_multiple_of(unit) {
        Err(Errno::EINVAL)
    } else if addr < USER_START {
        Err(Errno::EPERM)
    } else {
        Ok(addr)
    }
}
