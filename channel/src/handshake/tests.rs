use std::sync::Arc;

use loom::sync::atomic::AtomicU16 as LoomU16;
use loom::sync::atomic::{AtomicU32 as LoomU32, Ordering::Relaxed};

use super::{Ordering, Word, arm, must_notify, need_event, observe, publish, trail};

impl Word for LoomU16 {
    fn load(&self, order: Ordering) -> u16 {
        LoomU16::load(self, order)
    }

    fn store(&self, value: u16, order: Ordering) {
        LoomU16::store(self, value, order);
    }

    fn full_fence() {
        loom::sync::atomic::fence(Ordering::SeqCst);
    }
}

/// An eventfd, or an interrupt pending in a local APIC: raised, it stays raised until somebody waits for it.
struct Event {
    raised: loom::sync::Mutex<bool>,
    changed: loom::sync::Condvar,
}

impl Event {
    fn new() -> Self {
        Event { raised: loom::sync::Mutex::new(false), changed: loom::sync::Condvar::new() }
    }

    fn raise(&self) {
        *self.raised.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut raised = self.raised.lock().unwrap();
        while !*raised {
            raised = self.changed.wait(raised).unwrap();
        }
        *raised = false;
    }
}

/// One direction: index and event index as in the ring, a payload word, and the doorbell.
struct Direction {
    index: LoomU16,
    event: LoomU16,
    payload: LoomU32,
    bell: Event,
}

impl Direction {
    /// At the start the waiter polls: its event index trails.
    fn new() -> Self {
        Direction {
            index: LoomU16::new(0),
            event: LoomU16::new(u16::MAX),
            payload: LoomU32::new(0),
            bell: Event::new(),
        }
    }

    fn send(&self, new: u16, payload: u32) {
        self.payload.store(payload, Relaxed);
        publish(&self.index, new);
        if must_notify(&self.event, new) {
            self.bell.raise();
        }
    }

    /// Sleeps at once: polling first only adds states. A lost wake-up is a deadlock, which loom reports.
    fn receive(&self, at: u16) -> u32 {
        while observe(&self.index) == at {
            if !arm(&self.event, &self.index, at) {
                self.bell.wait();
            }
        }
        assert_eq!(observe(&self.index), at.wrapping_add(1));
        self.payload.load(Relaxed)
    }
}

#[test]
fn no_wake_up_is_lost_one_way() {
    loom::model(|| {
        let there = Arc::new(Direction::new());
        let sender = there.clone();
        let thread = loom::thread::spawn(move || sender.send(1, 7));
        assert_eq!(there.receive(0), 7);
        thread.join().unwrap();
    });
}

#[test]
fn no_wake_up_is_lost_there_and_back_twice() {
    let mut model = loom::model::Builder::new();
    // Two calls with every interleaving take minutes; wake-ups are lost with two preemptions or not at all.
    model.preemption_bound = Some(3);
    model.check(|| {
        let (there, back) = (Arc::new(Direction::new()), Arc::new(Direction::new()));
        let (requests, replies) = (there.clone(), back.clone());
        let device = loom::thread::spawn(move || {
            for at in 0..2 {
                let request = requests.receive(at);
                trail(&requests.event, at + 1);
                replies.send(at + 1, request + 100);
            }
        });
        for at in 0..2 {
            trail(&back.event, at);
            there.send(at + 1, u32::from(at));
            assert_eq!(back.receive(at), u32::from(at) + 100);
        }
        device.join().unwrap();
    });
}

/// The check of the check: without the fences the model must find the lost wake-up.
#[test]
#[should_panic(expected = "deadlock")]
fn without_the_fence_a_wake_up_is_lost() {
    loom::model(|| {
        let there = Arc::new(Direction::new());
        let sender = there.clone();
        let thread = loom::thread::spawn(move || {
            publish(&sender.index, 1);
            if need_event(Word::load(&sender.event, Relaxed), 1, 0) {
                sender.bell.raise();
            }
        });
        Word::store(&there.event, 0, Relaxed);
        if observe(&there.index) == 0 {
            there.bell.wait();
        }
        thread.join().unwrap();
    });
}

#[test]
fn an_event_is_needed_exactly_when_the_index_passes_it() {
    for old in [0_u16, 1, 77, 0x7fff, 0xfffe, 0xffff] {
        let new = old.wrapping_add(1);
        assert!(need_event(old, new, old), "level");
        assert!(!need_event(old.wrapping_sub(1), new, old), "trailing");
        assert!(!need_event(new, new, old), "ahead");
        assert!(!need_event(old.wrapping_add(0x8000), new, old), "far");
    }
    // Several entries at once, as virtio 1.2 defines it: any position in [old, new) is passed.
    assert!(need_event(0xffff, 2, 0xfffe) && need_event(1, 2, 0xfffe) && !need_event(2, 2, 0xfffe));
}
