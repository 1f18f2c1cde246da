//! What of a delegated call is let through to Linux.
//!
//! The LWK is not trusted. The triage table says which numbers are calls that the proxy makes at all; here the arguments
//! of such a call are kept off what is the proxy's own: its memory and its descriptors.

use std::ops::Range;
use std::os::fd::RawFd;

use margay_abi::Errno;
use margay_abi::calls::{Arg, Call, nr};
use margay_abi::layout::USER_END;

/// The descriptors that the proxy's maker passes: `base` guest memory, `base + 1` the doorbell, `base + 2` the LWK's wake-up, and
/// `base + 3` the program file; and anywhere else the control connection, if there is one. All but the program file, which is the
/// LWK's to read and close, are the proxy's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reserved {
    base: u32,
    control: u32,
}

impl Reserved {
    /// The descriptors from `base` on, and `control`. None is negative.
    pub fn new(base: RawFd, control: Option<RawFd>) -> Reserved {
        let base = base.unsigned_abs();
        // Without one, a number that is the proxy's own already.
        Reserved { base, control: control.map_or(base, RawFd::unsigned_abs) }
    }

    /// Guest memory.
    pub const fn memory(self) -> RawFd {
        self.base as RawFd
    }

    /// What becomes readable when the LWK rings: an eventfd, or a stream socket.
    pub const fn kick(self) -> RawFd {
        self.base as RawFd + 1
    }

    /// What interrupts the LWK when it is written to: an eventfd, or a stream socket.
    pub const fn wake(self) -> RawFd {
        self.base as RawFd + 2
    }

    /// The proxy's own, in order. They may overlap.
    const fn own(self) -> [Range<u32>; 2] {
        let (fixed, control) = (self.base..self.base + 3, self.control..self.control + 1);
        if self.control < self.base { [control, fixed] } else { [fixed, control] }
    }

    /// Whether Linux would take this argument for one of the proxy's own: it looks at the low 32 bits.
    fn holds(self, arg: u64) -> bool {
        let fd = arg as u32;
        (self.base..self.base + 3).contains(&fd) || fd == self.control
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
pub fn split_close_range(reserved: Reserved, call: Admitted) -> [Option<Admitted>; 3] {
    let part = |first: u32, last: u32| Admitted {
        args: [first.into(), last.into(), call.args[2], call.args[3], call.args[4], call.args[5]],
        ..call
    };
    let (first, last) = (call.args[0] as u32, call.args[1] as u32);
    let mut parts = [None; 3];
    if last < first || !reserved.own().iter().any(|own| first < own.end && own.start <= last) {
        // Nothing of ours, or nothing at all, of which Linux has to complain.
        parts[0] = Some(part(first, last));
        return parts;
    }
    let mut from = first;
    for (own, gap) in reserved.own().iter().zip(&mut parts) {
        let until = own.start.min(last.saturating_add(1));
        *gap = (from < until).then(|| part(from, until - 1));
        from = from.max(own.end);
    }
    parts[2] = (from <= last).then(|| part(from, last));
    parts
}

#[cfg(test)]
mod tests;
