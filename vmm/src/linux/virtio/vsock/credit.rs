//! Who may send how much (5.10.6.3): each side says how much it can store (`buf_alloc`) and how much it has passed on so far
//! (`fwd_cnt`). All counters wrap at 32 bits.

use super::BUF_ALLOC;

/// Bytes from guest to host: what the guest may still send.
#[derive(Debug, Default)]
pub(super) struct Receiving {
    received: u32,
    forwarded: u32,
    /// `forwarded` as the guest knows it.
    announced: u32,
}

impl Receiving {
    /// Counts bytes from the guest. `false`: more than it may send.
    #[must_use]
    pub fn receive(&mut self, len: usize) -> bool {
        let stored = self.received.wrapping_sub(self.forwarded) as usize;
        if len > BUF_ALLOC as usize - stored {
            return false;
        }
        self.received = self.received.wrapping_add(len as u32);
        true
    }

    /// Counts bytes that are no longer stored: no more than were received.
    pub fn forward(&mut self, len: usize) {
        self.forwarded = self.forwarded.wrapping_add(len as u32);
    }

    /// The `fwd_cnt` for a packet that is now sent.
    pub fn announce(&mut self) -> u32 {
        self.announced = self.forwarded;
        self.forwarded
    }

    /// Whether the guest believes less than half of the store to be free while more is: time to tell it. So many small
    /// messages cost no packets the other way, and a guest that sends without end never waits for the news.
    pub fn update_due(&self) -> bool {
        self.announced != self.forwarded
            && self.received.wrapping_sub(self.announced) > BUF_ALLOC / 2
    }
}

/// Bytes from host to guest: what the device may still send.
#[derive(Debug, Default)]
pub(super) struct Sending {
    sent: u32,
    buf_alloc: u32,
    fwd_cnt: u32,
}

impl Sending {
    /// Takes the guest's word from a packet.
    pub fn update(&mut self, buf_alloc: u32, fwd_cnt: u32) {
        self.buf_alloc = buf_alloc;
        self.fwd_cnt = fwd_cnt;
    }

    /// Bytes that may be sent now. A guest that claims to have passed on more than it got gets nothing more.
    pub fn free(&self) -> usize {
        self.buf_alloc.saturating_sub(self.sent.wrapping_sub(self.fwd_cnt)) as usize
    }

    /// Counts bytes to the guest: no more than [`Sending::free`].
    pub fn send(&mut self, len: usize) {
        self.sent = self.sent.wrapping_add(len as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_may_send_what_the_store_holds_and_no_byte_more() {
        let mut receiving = Receiving::default();
        assert!(receiving.receive(BUF_ALLOC as usize - 1));
        assert!(!receiving.receive(2));
        assert!(receiving.receive(1));
        assert!(!receiving.receive(1));
        receiving.forward(10);
        assert!(receiving.receive(10));
        assert!(!receiving.receive(1));
        assert!(!receiving.receive(usize::MAX));
    }

    #[test]
    fn news_is_due_when_half_of_the_store_seems_used_and_is_not() {
        let mut receiving = Receiving::default();
        assert!(receiving.receive(BUF_ALLOC as usize / 2 + 1));
        assert!(!receiving.update_due(), "nothing is free that the guest does not know of");
        receiving.forward(1);
        assert!(receiving.update_due());
        assert_eq!(receiving.announce(), 1);
        assert!(!receiving.update_due());
    }

    #[test]
    fn counters_wrap() {
        let near = u32::MAX - 5;
        let mut receiving = Receiving { received: near, forwarded: near, announced: near };
        assert!(receiving.receive(100));
        receiving.forward(100);
        assert_eq!(receiving.announce(), 94);
        assert!(receiving.receive(BUF_ALLOC as usize));

        let mut sending = Sending { sent: near, buf_alloc: 50, fwd_cnt: near };
        assert_eq!(sending.free(), 50);
        sending.send(30);
        assert_eq!(sending.free(), 20);
        sending.update(50, 24);
        assert_eq!(sending.free(), 50);
        sending.update(50, 25);
        assert_eq!(sending.free(), 0, "passed on more than was sent");
    }
}
