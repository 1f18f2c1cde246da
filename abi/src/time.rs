//! The clock page: how the LWK and its vDSO turn the TSC into Linux's clocks without asking anybody.
//!
//! The VMM writes it, about once a second, from the host's clocks; a sequence count makes a reader try again when it
//! met a write. `ns = base_ns + ((tsc - tsc_base) * mult >> 32)`. Each write continues the old line without a
//! jump and bends it towards the host's clock, so the monotonic clock never runs backwards.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// The clock page. Written only by the VMM.
#[derive(Debug)]
#[repr(C)]
pub struct TimePage {
    /// Odd while a write is under way.
    pub seq: AtomicU32,
    /// Zero.
    pub pad: AtomicU32,
    /// TSC value of the base.
    pub tsc_base: AtomicU64,
    /// `CLOCK_MONOTONIC` at the base, ns.
    pub mono_ns: AtomicU64,
    /// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`, ns.
    pub real_offset_ns: AtomicU64,
    /// `CLOCK_BOOTTIME` minus `CLOCK_MONOTONIC`, ns.
    pub boot_offset_ns: AtomicU64,
    /// `CLOCK_TAI` minus `CLOCK_MONOTONIC`, ns.
    pub tai_offset_ns: AtomicU64,
    /// Nanoseconds per TSC cycle, times 2^32.
    pub mult: AtomicU64,
}

const _: () = assert!(core::mem::size_of::<TimePage>() == 56);

/// The clocks that the page gives, by Linux's `clockid_t`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// `CLOCK_REALTIME`, `CLOCK_REALTIME_COARSE`.
    Real,
    /// `CLOCK_MONOTONIC`, `_RAW`, `_COARSE`.
    Monotonic,
    /// `CLOCK_BOOTTIME`.
    Boot,
    /// `CLOCK_TAI`.
    Tai,
}

impl Clock {
    /// The clock of a `clockid_t`; `None` for the CPU-time clocks and unknown ones.
    pub const fn from_id(id: u64) -> Option<Clock> {
        match id {
            0 | 5 => Some(Clock::Real),
            1 | 4 | 6 => Some(Clock::Monotonic),
            7 => Some(Clock::Boot),
            11 => Some(Clock::Tai),
            _ => None,
        }
    }
}

impl TimePage {
    /// Reads `clock` in nanoseconds. `tsc` reads the TSC; it is called anew when a write came between.
    pub fn read_ns(&self, clock: Clock, tsc: impl Fn() -> u64) -> u64 {
        use core::sync::atomic::{
            Ordering::{Acquire, Relaxed},
            fence,
        };
        loop {
            let seq = self.seq.load(Acquire);
            let cycles = tsc().wrapping_sub(self.tsc_base.load(Relaxed));
            let ns = ((u128::from(cycles) * u128::from(self.mult.load(Relaxed))) >> 32) as u64;
            let mono = self.mono_ns.load(Relaxed).wrapping_add(ns);
            let offset = match clock {
                Clock::Real => self.real_offset_ns.load(Relaxed),
                Clock::Monotonic => 0,
                Clock::Boot => self.boot_offset_ns.load(Relaxed),
                Clock::Tai => self.tai_offset_ns.load(Relaxed),
            };
            // The loads above must be done before the count is read again (a sequence lock's reader).
            fence(Acquire);
            if seq & 1 == 0 && self.seq.load(Relaxed) == seq {
                return mono.wrapping_add(offset);
            }
            core::hint::spin_loop();
        }
    }
}
