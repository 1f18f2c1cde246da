//! `mprotect`.

use core::ops::Range;

use margay_abi::Errno;
use margay_abi::layout::PAGE;

use super::backing::Borrowed;
use super::{AddressSpace, Kind, Machine, Prot};
use crate::align_up;

/// `PROT_SEM`: allowed, without meaning.
const PROT_SEM: u64 = 0x8;
/// `PROT_GROWSDOWN`, `PROT_GROWSUP`.
const PROT_GROWSDOWN: u64 = 0x0100_0000;
const PROT_GROWSUP: u64 = 0x0200_0000;

impl<M: Machine> AddressSpace<M> {
    /// `mprotect`. Memory that had no frames gets them when it becomes accessible; memory that becomes inaccessible
    /// keeps them, and its contents.
    ///
    /// # Errors
    /// As mprotect(2): `EINVAL`, and `ENOMEM` on holes or without memory. Unlike on Linux, nothing is changed then.
    pub fn mprotect(&mut self, addr: u64, bytes: u64, prot: u64) -> Result<(), Errno> {
        let grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
        let prot = prot & !grows;
        if grows == PROT_GROWSDOWN | PROT_GROWSUP || !addr.is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        if bytes == 0 {
            return Ok(());
        }
        let bytes = align_up(bytes, PAGE).ok_or(Errno::ENOMEM)?;
        let end = addr.checked_add(bytes).ok_or(Errno::ENOMEM)?;
        if prot & !(u64::from(Prot::all().bits()) | PROT_SEM) != 0 {
            return Err(Errno::EINVAL);
        }
        let range = self.grown(addr..end, grows)?;
        self.set_prot(range, Prot::from_bits_truncate(prot as u32))
    }

    /// Gives all of `range`, which lies in areas, the protection `prot`.
    fn set_prot(&mut self, range: Range<u64>, prot: Prot) -> Result<(), Errno> {
        if !self.areas.covers(&range) {
            return Err(Errno::ENOMEM);
        }
        if self.areas.overlapping(&range).all(|area| area.prot == prot) {
            return Ok(());
        }
        self.check_room(&range)?;
        let holes = if prot.is_empty() { [].into() } else { self.holes(&range, Borrowed::IsPage) };
        let pieces = self.acquire(&holes, prot)?;
        self.reprotect(range.clone(), prot);
        self.commit(pieces);
        self.settle();
        self.areas.protect(&range, prot);
        Ok(())
    }

    /// `range`, extended as `PROT_GROWSDOWN` asks: down to the start of the stack.
    fn grown(&self, range: Range<u64>, grows: u64) -> Result<Range<u64>, Errno> {
        if grows == 0 {
            return Ok(range);
        }
        let first = self.areas.overlapping(&range).next().ok_or(Errno::ENOMEM)?;
        if grows == PROT_GROWSDOWN && first.kind == Kind::Stack {
            Ok(first.start..range.end)
        } else {
            Err(Errno::EINVAL)
        }
    }
}
