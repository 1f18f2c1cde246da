//! What of a delegated call is let through to Linux.
//!
//! The LWK is not trusted. The triage table says which numbers are calls that the proxy makes at all; here the arguments
//! of such a call are kept off what is the proxy's own: its memory and its descriptors.

use std::ops::Range;
use std::os::fd::RawFd;

use margay_abi::Errno;
use margay_abi::calls::{Arg, Call, nr};
use margay_abi::layout::USER_END;

/// The descriptors that the VMM passes: `base` guest memory, `base + 1` the doorbell, `base + 2` the LWK's wake-up, and
/// `base + 3` the program file. The first three are the proxy's own, the last is the LWK's to read and close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reserved {
    base: u32,
}

impl Reserved {
    /// The descriptors from `base` on, which is not negative.
    pub fn new(base: RawFd) -> Reserved {
        Reserved { base: base.unsigned_abs() }
    }

    /// Guest memory.
    pub const fn memory(self) -> RawFd {
        self.base as RawFd
    }

    /// The eventfd that the LWK's doorbell signals.
    pub const fn kick(self) -> RawFd {
        self.base as RawFd + 1
    }

    /// The eventfd that interrupts the LWK.
    pub const fn wake(self) -> RawFd {
        self.base as RawFd + 2
    }

    /// The proxy's own.
    const fn own(self) -> Range<u32> {
        self.base..self.base + 3
    }

    /// Whether Linux would take this argument for one of the proxy's own: it looks at the low 32 bits.
    fn holds(self, arg: u64) -> bool {
        self.own().contains(&(arg as u32))
    }
}

/// Where the proxy's own memory may lie: above the program's, in the lower half of the addresses. Linux itself refuses
/// pointers to the upper half; a number there is a negative one.
const OWN_MEMORY: Range<u64> = USER_END..1 << 47;

/// A call that may be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admitted {
    nr: u32,
    args: [u64; 6],
}

impl Admitted {
    /// Call number.
    pub const fn nr(&self) -> u32 {
        self.nr
    }

    /// Arguments.
    pub const fn args(&self) -> &[u64; 6] {
        &self.args
    }

    /// The same call on another path: the one argument that may point into the proxy.
    pub fn with_path(mut self, arg: usize, path: &'static std::ffi::CStr) -> Admitted {
        self.args[arg] = path.as_ptr() as u64;
        self
    }
}

/// Lets a call through, or says what the program gets instead.
///
/// # Errors
/// `ENOSYS`: not a call for the proxy. `EFAULT`: a pointer to the proxy's memory. `EBADF`: a descriptor of the proxy's.
#[inline]
pub fn admit(reserved: Reserved, call: &Call, args: [u64; 6]) -> Result<Admitted, Errno> {
    if !call.reaches_proxy() {
        return Err(Errno::ENOSYS);
    }
    for (kind, &arg) in call.args().zip(&args) {
        match kind {
            Arg::Number => {}
            Arg::Pointer | Arg::Path if OWN_MEMORY.contains(&arg) => return Err(Errno::EFAULT),
            Arg::Pointer | Arg::Path => {}
            Arg::Fd | Arg::DirFd if reserved.holds(arg) => return Err(Errno::EBADF),
            Arg::Fd | Arg::DirFd => {}
        }
    }
    // To these the new descriptor is a number.
    if matches!(call.nr, nr::DUP2 | nr::DUP3) && reserved.holds(args[1]) {
        return Err(Errno::EBADF);
    }
    Ok(Admitted { nr: call.nr, args })
}

/// The calls that together close what `close_range(first, last)` would, but not the proxy's own descriptors.
pub fn split_close_range(reserved: Reserved, call: Admitted) -> [Option<Admitted>; 2] {
    let part = |first: u32, last: u32| {
        let mut part = call;
        (part.args[0], part.args[1]) = (first.into(), last.into());
        Some(part)
    };
    let Range { start, end } = reserved.own();
    let (first, last) = (call.args[0] as u32, call.args[1] as u32);
    if last < first || last < start || end <= first {
        // Nothing of ours, or nothing at all, of which Linux has to complain.
        return [part(first, last), None];
    }
    let below = if first < start { part(first, start - 1) } else { None };
    let above = if end <= last { part(end, last) } else { None };
    [below, above]
}

#[cfg(test)]
mod tests;
