//! One queue in use: what every device does with its rings, so that devices only see chains.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::device::{Activation, Interrupt};

/// A request of the driver: descriptors of its buffers, not yet checked.
pub(super) type Chain = DescriptorChain<Arc<GuestMemoryMmap>>;

/// The driver wants no interrupt (virtio 1.2, 2.7.6, `VIRTQ_AVAIL_F_NO_INTERRUPT`).
const NO_INTERRUPT: u16 = 1;

/// A queue with what is needed to use it. One that the driver left unused, or whose rings are not in memory, gives no
/// chains.
pub(super) struct Ring {
    queue: Queue,
    memory: Arc<GuestMemoryMmap>,
    interrupt: Arc<dyn Interrupt>,
    index: usize,
    /// Buffers were returned of which the driver has not been told.
    returned: bool,
}

impl Ring {
    /// The queues of a device that has `N`.
    pub fn all<const N: usize>(activation: Activation) -> [Ring; N] {
        let memory = Arc::new(activation.memory);
        let mut queues = activation.queues.into_iter();
        std::array::from_fn(|index| {
            let mut queue =
                queues.next().expect("the transport passes every queue that the device names");
            if !queue.is_valid(memory.as_ref()) {
                queue.set_ready(false);
            }
            let interrupt = activation.interrupt.clone();
            Ring { queue, memory: memory.clone(), interrupt, index, returned: false }
        })
    }

    /// The guest's memory.
    pub fn memory(&self) -> Arc<GuestMemoryMmap> {
        self.memory.clone()
    }

    /// The next request. `None` promises that the driver kicks when it adds one.
    pub fn pop(&mut self) -> Option<Chain> {
        if let Some(chain) = self.queue.pop_descriptor_chain(self.memory.clone()) {
            return Some(chain);
        }
        // Asks for kicks, then looks once more: a request may have come before the driver could see that.
        let more = self.queue.ready()
            && self.queue.enable_notification(self.memory.as_ref()).unwrap_or(false);
        if more { self.queue.pop_descriptor_chain(self.memory.clone()) } else { None }
    }

    /// Gives the request back that [`Ring::pop`] took last; it will be the next again.
    pub fn put_back(&mut self) {
        self.queue.go_to_previous_position();
    }

    /// Returns the request whose first descriptor is `head` to the driver, `len` bytes of it written. [`Ring::notify`] tells
    /// it.
    pub fn finish(&mut self, head: u16, len: u32) {
        // Fails for a head that the driver made up: there is nothing to return then.
        self.returned |= self.queue.add_used(self.memory.as_ref(), head, len).is_ok();
    }

    /// Interrupts the driver if there is news for it and it wants to hear.
    pub fn notify(&mut self) {
        if !std::mem::take(&mut self.returned) {
            return;
        }
        // The fence between the used index and the driver's wishes is in here. When in doubt, interrupt.
        let due = self.queue.needs_notification(self.memory.as_ref()).unwrap_or(true);
        if due && (self.queue.event_idx_enabled() || self.wants_interrupts()) {
            self.interrupt.queue(self.index);
        }
    }

    fn wants_interrupts(&self) -> bool {
        let flags = GuestAddress(self.queue.avail_ring());
        self.memory
            .load::<u16>(flags, Ordering::Relaxed)
            .map_or(true, |flags| u16::from_le(flags) & NO_INTERRUPT == 0)
    }
}

/// Copies what a configuration holds at `offset` to `data`, and zeros past its end.
pub(super) fn read_config(config: &[u8], offset: u64, data: &mut [u8]) {
    let rest = usize::try_from(offset).ok().and_then(|offset| config.get(offset..)).unwrap_or(&[]);
    let len = rest.len().min(data.len());
    data[..len].copy_from_slice(&rest[..len]);
    data[len..].fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linux::virtio::testing::{BUFFERS, DriverQueue, Interrupts, MEMORY, writable};

    /// A queue of 8, with event indices.
    fn ring() -> (Ring, DriverQueue, Arc<Interrupts>) {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
        let (driver, mut queue) = DriverQueue::new(&memory, 0, 8);
        queue.set_event_idx(true);
        let interrupts = Arc::new(Interrupts::default());
        let interrupt = interrupts.clone();
        let [ring] = Ring::all(Activation { memory, queues: vec![queue], interrupt, features: 0 });
        (ring, driver, interrupts)
    }

    #[test]
    fn an_empty_ring_asks_for_a_kick() {
        let (mut ring, mut driver, _) = ring();
        for round in 0..20 {
            assert!(ring.pop().is_none());
            assert_eq!(driver.avail_event(), round);
            let head = driver.add(&[writable(BUFFERS, 4)]);
            assert_eq!(ring.pop().unwrap().head_index(), head);
            ring.put_back();
            assert_eq!(ring.pop().unwrap().head_index(), head);
            ring.finish(head, 4);
            assert_eq!(driver.used(), Some((head, 4)));
        }
    }

    #[test]
    fn the_driver_is_interrupted_where_it_asked_for_it() {
        let (mut ring, mut driver, interrupts) = ring();
        driver.set_used_event(1);
        for (round, expected) in [0, 1, 0].into_iter().enumerate() {
            let head = driver.add(&[writable(BUFFERS, 4)]);
            ring.pop().unwrap();
            ring.finish(head, 0);
            ring.notify();
            ring.notify();
            assert_eq!(interrupts.take(0), expected, "round {round}");
        }
    }

    #[test]
    fn queues_that_are_not_in_memory_or_not_used_give_nothing() {
        let memory: GuestMemoryMmap =
            GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap();
        let (driver, mut outside) = DriverQueue::new(&memory, 0, 8);
        driver.offer(0);
        outside.set_used_ring_address(Some(MEMORY as u32), None);
        let (driver, mut unused) = DriverQueue::new(&memory, 1, 8);
        driver.offer(0);
        unused.set_ready(false);
        let (driver, mad) = DriverQueue::new(&memory, 2, 8);
        (0..9).for_each(|_| driver.offer(0));
        let interrupt = Arc::new(Interrupts::default());
        let queues = vec![outside, unused, mad];
        let rings: [Ring; 3] = Ring::all(Activation { memory, queues, interrupt, features: 0 });
        for mut ring in rings {
            assert!(ring.pop().is_none());
            ring.finish(0, 0);
            ring.notify();
        }
    }
}
