//! The LWK's logic that needs no machine.
//!
//! A kernel bug in a guest is hard to see and a unit test there is slow, so everything that can be said
//! without privileged instructions or fixed addresses is here, where the host's test runner reaches it. The
//! LWK supplies the machine through two small traits, [`TableMemory`](paging::TableMemory) and
//! [`Machine`](space::Machine).
//!
//! | module | what it decides |
//! |---|---|
//! | [`frames`] | which physical memory is free |
//! | [`paging`] | what the x86-64 page tables say |
//! | [`space`] | what Linux's memory calls do to a program's address space |
//! | [`mod@elf`] | where a program file wants to lie |
//! | [`stack`] | what a program finds on its stack |

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod bitmap;
pub mod elf;
pub mod frames;
pub mod paging;
pub mod space;
pub mod stack;

/// `value` rounded down to a multiple of `unit`, a power of two.
pub(crate) const fn align_down(value: u64, unit: u64) -> u64 {
    value & !(unit - 1)
}

/// `value` rounded up to a multiple of `unit`, a power of two; `None` if that is 2^64 or more.
pub(crate) const fn align_up(value: u64, unit: u64) -> Option<u64> {
    value.checked_next_multiple_of(unit)
}
