//! Ranges of the program's addresses.

use margay_abi::layout::{PAGE, USER_END, USER_START};

/// Whole pages between `USER_START` and `USER_END`, at least one.
///
/// Nothing of the proxy itself lies there (checked at start), so what is done to such a range is done to the
/// program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserRange {
    start: u64,
    end: u64,
}

impl UserRange {
    /// `[addr, addr + len)`, if that is whole pages of the program's.
    pub fn new(addr: u64, len: u64) -> Option<UserRange> {
        let end = addr.checked_add(len)?;
        let fits = USER_START <= addr && addr < end && end <= USER_END;
        (fits && addr.is_multiple_of(PAGE) && end.is_multiple_of(PAGE))
            .then_some(UserRange { start: addr, end })
    }

    /// The part of `[start, end)` inside this range, if there is any. Both are page addresses.
    pub fn cut(self, start: u64, end: u64) -> Option<UserRange> {
        let (start, end) = (start.max(self.start), end.min(self.end));
        (start < end).then_some(UserRange { start, end })
    }

    /// First address.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// One past the last address.
    pub const fn end(self) -> u64 {
        self.end
    }

    /// Bytes.
    pub const fn len(self) -> u64 {
        self.end - self.start
    }
}

/// What may be done to a page: Linux's `PROT_READ` and `PROT_WRITE`, or neither.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prot(u8);

impl Prot {
    /// May be read.
    pub const READ: Prot = Prot(libc::PROT_READ as u8);
    /// May be written, and therefore, on x86-64, read.
    pub const WRITE: Prot = Prot(libc::PROT_WRITE as u8);

    /// The protection of a map record; `None` if other bits are set.
    pub fn from_bits(bits: u32) -> Option<Prot> {
        let known = u32::from(Prot::READ.0 | Prot::WRITE.0);
        (bits & !known == 0).then_some(Prot(bits as u8))
    }

    /// As `mmap` takes it.
    pub const fn bits(self) -> libc::c_int {
        self.0 as libc::c_int
    }

    /// Whether a page of this protection may be accessed so.
    pub const fn allows(self, access: Prot) -> bool {
        if access.0 & Prot::WRITE.0 == 0 { self.0 != 0 } else { self.0 & Prot::WRITE.0 != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::{PAGE, Prot, USER_END, USER_START, UserRange};

    #[test]
    fn only_whole_pages_of_the_program_are_a_range() {
        assert!(UserRange::new(USER_START, PAGE).is_some());
        assert!(UserRange::new(USER_END - PAGE, PAGE).is_some());
        for (addr, len) in [
            (USER_START, 0),
            (USER_START - PAGE, 2 * PAGE),
            (USER_START + 1, PAGE),
            (USER_START, PAGE + 1),
            (USER_END - PAGE, 2 * PAGE),
            (USER_END, PAGE),
            (USER_START, u64::MAX - PAGE + 1),
            (u64::MAX - PAGE + 1, PAGE),
        ] {
            assert_eq!(UserRange::new(addr, len), None, "{addr:#x} {len:#x}");
        }
    }

    #[test]
    fn writing_needs_more_than_reading() {
        let read_write = Prot::from_bits(3).unwrap();
        let none = Prot::from_bits(0).unwrap();
        assert_eq!(Prot::from_bits(4), None, "never execute");
        assert!(read_write.allows(Prot::WRITE) && read_write.allows(Prot::READ));
        assert!(Prot::READ.allows(Prot::READ) && !Prot::READ.allows(Prot::WRITE));
        assert!(!none.allows(Prot::READ) && !none.allows(Prot::WRITE));
    }
}
