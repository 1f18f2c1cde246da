//! Drivers, good and bad, against the common configuration.

use std::sync::{Arc, Mutex};

use proptest::prelude::{any, prop_assert, proptest};
use virtio_queue::QueueT;

use super::Common;
use crate::linux::pci::Msix;
use crate::linux::virtio::interrupt::VirtioInterrupt;
use crate::linux::virtio::tests::{Probe, Seen, Sent, memory};

fn common() -> (Common<Arc<Sent>>, Arc<Mutex<Seen>>) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let msix = Arc::new(Msix::new(Arc::new(Sent::default()), 3));
    let interrupt = Arc::new(VirtioInterrupt::new(msix, 2));
    (Common::new(Box::new(Probe(Arc::clone(&seen))), memory(), interrupt), seen)
}

const STATUS: u64 = 0x14;

/// Goes through 3.1.1 up to the agreement on `features`.
fn negotiate(common: &mut Common<Arc<Sent>>, features: u64) -> u64 {
    common.write(STATUS, 1, 0);
    common.write(STATUS, 1, 1);
    common.write(STATUS, 1, 3);
    for half in 0..2 {
        common.write(0x08, 4, half);
        common.write(0x0c, 4, features >> (32 * half) & 0xffff_ffff);
    }
    common.write(STATUS, 1, 3 | 8);
    common.read(STATUS, 1)
}

fn set_up_queue(common: &mut Common<Arc<Sent>>, index: u64, at: u64) {
    common.write(0x16, 2, index);
    common.write(0x18, 2, 32);
    for (register, address) in [(0x20, at), (0x28, at + 0x1000), (0x30, at + 0x2000)] {
        common.write(register, 4, address & 0xffff_ffff);
        common.write(register + 4, 4, address >> 32);
    }
    common.write(0x1c, 2, 1);
}

const VERSION_1: u64 = 1 << 32;
const EVENT_IDX: u64 = 1 << 29;

#[test]
fn a_driver_starts_the_device() {
    let (mut common, seen) = common();
    common.write(0, 4, 1);
    assert_eq!(common.read(4, 4), 1, "VERSION_1 is offered");
    assert_eq!(negotiate(&mut common, VERSION_1 | EVENT_IDX), 11);
    assert_eq!(common.read(0x12, 2), 2);
    set_up_queue(&mut common, 0, 0x1000);
    common.write(STATUS, 1, 15);
    assert!(common.active());
    let seen = seen.lock().unwrap();
    let activation = seen.activation.as_ref().unwrap();
    assert_eq!(activation.features, VERSION_1 | EVENT_IDX);
    let [first, second] = &activation.queues[..] else { panic!("two queues") };
    assert!(first.ready() && first.event_idx_enabled() && !second.ready());
    assert_eq!((first.size(), first.desc_table(), first.used_ring()), (32, 0x1000, 0x3000));
}

#[test]
fn features_not_offered_are_refused() {
    for features in [VERSION_1 | 2, EVENT_IDX, 0] {
        let (mut common, seen) = common();
        assert_eq!(negotiate(&mut common, features), 3, "{features:#x}");
        common.write(STATUS, 1, 15);
        assert!(!common.active() && seen.lock().unwrap().activation.is_none());
    }
}

#[test]
fn features_are_fixed_once_agreed_on() {
    let (mut common, _) = common();
    negotiate(&mut common, VERSION_1);
    common.write(0x08, 4, 0);
    common.write(0x0c, 4, 1);
    assert_eq!(common.read(0x0c, 4), 0);
}

#[test]
fn a_queue_outside_of_memory_stops_the_device() {
    for at in [0xffff_f000, u64::MAX - 0x3fff, 0x1001, 0xf_f000] {
        let (mut common, seen) = common();
        negotiate(&mut common, VERSION_1);
        set_up_queue(&mut common, 1, at);
        common.write(STATUS, 1, 15);
        assert_eq!(common.read(STATUS, 1), 15 | 64, "{at:#x}: needs reset");
        assert!(seen.lock().unwrap().activation.is_none());
    }
}

#[test]
fn a_queue_in_use_does_not_move() {
    let (mut common, _) = common();
    negotiate(&mut common, VERSION_1);
    set_up_queue(&mut common, 0, 0x1000);
    common.write(0x20, 4, 0x9000);
    common.write(0x18, 2, 2);
    common.write(0x1c, 2, 0);
    assert_eq!((common.read(0x20, 4), common.read(0x18, 2), common.read(0x1c, 2)), (0x1000, 32, 1));
}

#[test]
fn a_reset_forgets_everything() {
    let (mut common, seen) = common();
    negotiate(&mut common, VERSION_1);
    set_up_queue(&mut common, 0, 0x1000);
    common.write(0x1a, 2, 1);
    common.write(STATUS, 1, 15);
    common.write(STATUS, 1, 0);
    assert_eq!(seen.lock().unwrap().resets, 1);
    assert_eq!(common.read(STATUS, 1), 0);
    common.write(0x16, 2, 0);
    let state = [0x18, 0x1a, 0x1c].map(|register| common.read(register, 2));
    assert_eq!(state, [64, 0xffff, 0]);
}

#[test]
fn a_vector_that_is_not_there_is_not_taken() {
    let (mut common, _) = common();
    common.write(0x10, 2, 2);
    assert_eq!(common.read(0x10, 2), 2);
    common.write(0x10, 2, 3);
    assert_eq!(common.read(0x10, 2), 0xffff);
}

proptest! {
    #[test]
    fn no_driver_gets_queues_outside_of_memory(writes in proptest::collection::vec((0..0x48_u64, 0..9_usize, any::<u64>()), 0..80)) {
        let (mut common, seen) = common();
        negotiate(&mut common, VERSION_1);
        for (offset, length, value) in writes {
            // Small addresses too, or no queue would ever be right.
            let value = if value & 1 == 0 { value } else { value & 0xf_fff0 };
            common.write(offset, length, value);
            common.read(offset, length);
        }
        common.write(STATUS, 1, 15);
        if let Some(activation) = &seen.lock().unwrap().activation {
            for queue in &activation.queues {
                prop_assert!(!queue.ready() || queue.is_valid(&activation.memory));
            }
        }
    }
}
