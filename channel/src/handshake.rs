//! The part of the protocol that decides whether a sleeper is woken, in one place so that it can be model-checked.
//!
//! Both directions are the same: a *publisher* moves an index and asks whether to raise an event, a *waiter* writes
//! its event index and asks whether it may sleep. Each stores one word and then loads the other's; with only release and
//! acquire both loads may miss both stores, and the wake-up is lost (Dekker's problem). The full fence between store and
//! load on both sides forbids exactly that: whichever fence is later in the single total order, its side sees the
//! other's store. So the waiter sees the new index and stays awake, or the publisher sees the event index and raises
//! the event, or both, which costs one wake-up too many.
//!
//! The functions are generic over the atomic word so that the tests run this very code on loom's.

use core::sync::atomic::{AtomicU16, Ordering, fence};

/// A 16-bit word shared by two cores.
pub(crate) trait Word {
    /// As [`AtomicU16::load`].
    fn load(&self, order: Ordering) -> u16;
    /// As [`AtomicU16::store`].
    fn store(&self, value: u16, order: Ordering);
    /// A sequentially consistent fence.
    fn full_fence();
}

impl Word for AtomicU16 {
    #[inline]
    fn load(&self, order: Ordering) -> u16 {
        AtomicU16::load(self, order)
    }

    #[inline]
    fn store(&self, value: u16, order: Ordering) {
        AtomicU16::store(self, value, order);
    }

    #[inline]
    fn full_fence() {
        fence(Ordering::SeqCst);
    }
}

/// Publisher: makes everything stored before visible with the new value of its index.
#[inline]
pub(crate) fn publish<W: Word>(index: &W, new: u16) {
    index.store(new, Ordering::Release);
}

/// Publisher, after [`publish`] of `new`: whether the waiter must be told.
#[inline]
pub(crate) fn must_notify<W: Word>(event: &W, new: u16) -> bool {
    W::full_fence();
    need_event(event.load(Ordering::Relaxed), new, new.wrapping_sub(1))
}

/// Waiter, polling: the index, and with it what was published before.
#[inline]
pub(crate) fn observe<W: Word>(index: &W) -> u16 {
    index.load(Ordering::Acquire)
}

/// Waiter, polling, whose next position is `at`: asks for no event.
#[inline]
pub(crate) fn trail<W: Word>(event: &W, at: u16) {
    event.store(at.wrapping_sub(1), Ordering::Relaxed);
}

/// Waiter, about to sleep: asks for an event when `index` passes `at`. True if it has passed already: do not sleep.
#[inline]
pub(crate) fn arm<W: Word>(event: &W, index: &W, at: u16) -> bool {
    event.store(at, Ordering::Relaxed);
    W::full_fence();
    observe(index) != at
}

/// Whether moving an index from `old` to `new` passes `event` (`vring_need_event`, virtio 1.2 section 2.7.10).
#[inline]
const fn need_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

#[cfg(test)]
mod tests;
