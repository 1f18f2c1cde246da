//! The driver's half: the LWK makes calls.

use core::sync::atomic::Ordering::Relaxed;

use margay_abi::channel::{
    ChannelPage, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, Descriptor, INDIRECT_OFFSET,
    REPLY_BYTES, REPLY_OFFSET, REQUEST_BYTES, REQUEST_OFFSET,
};

use crate::handshake;
use crate::{Reply, Request};

/// One LWK thread's end of its channel. At most one call is in flight.
///
/// `submit`, ring if `must_ring`, then `poll` until the reply is there; to halt in between, `arm`.
#[derive(Debug)]
pub struct Driver<'a> {
    page: &'a ChannelPage,
    /// `avail.idx`: requests made.
    submitted: u16,
    /// `used.idx` as far as replies were taken. Equal to `submitted` while no call is in flight.
    taken: u16,
}

impl<'a> Driver<'a> {
    /// Sets the queue up in `page`, which is zero (as guest memory is at boot) and lies at guest-physical `page_gpa`.
    pub fn new(page: &'a ChannelPage, page_gpa: u64) -> Self {
        let [head] = &page.descriptors.table;
        let [request, reply] = &page.descriptors.indirect;
        let table_bytes = size_of_val(&page.descriptors.indirect) as u32;
        describe(head, page_gpa + INDIRECT_OFFSET, table_bytes, DESC_F_INDIRECT);
        describe(request, page_gpa + REQUEST_OFFSET, REQUEST_BYTES, DESC_F_NEXT);
        request.next.store(1, Relaxed);
        describe(reply, page_gpa + REPLY_OFFSET, REPLY_BYTES, DESC_F_WRITE);
        Driver { page, submitted: 0, taken: 0 }
    }

    /// Makes a request. The caller has taken the reply of the one before.
    #[inline]
    pub fn submit(&mut self, request: &Request) {
        debug_assert_eq!(self.submitted, self.taken, "a call is in flight");
        let line = &self.page.request;
        line.body.nr.store(request.nr, Relaxed);
        line.body.map_seq.store(request.map_seq, Relaxed);
        for (to, &arg) in line.body.args.iter().zip(&request.args) {
            to.store(arg, Relaxed);
        }
        handshake::trail(&line.avail.used_event, self.taken);
        self.submitted = self.submitted.wrapping_add(1);
        handshake::publish(&line.avail.idx, self.submitted);
    }

    /// After [`Driver::submit`]: whether the device sleeps, so that the doorbell must be rung.
    #[inline]
    pub fn must_ring(&self) -> bool {
        handshake::must_notify(&self.page.reply.avail_event, self.submitted)
    }

    /// Takes the reply, once, if it is there.
    #[inline]
    pub fn poll(&mut self) -> Option<Reply> {
        let line = &self.page.reply;
        let used = handshake::observe(&line.idx);
        if used == self.taken {
            return None;
        }
        self.taken = used;
        Some(Reply { ret: line.body.ret.load(Relaxed), signals: line.body.signals.load(Relaxed) })
    }

    /// Asks for an interrupt with the reply. True if the reply is there already: do not halt.
    ///
    /// The next [`Driver::submit`] takes the wish back; see the crate's page on waiting.
    pub fn arm(&mut self) -> bool {
        handshake::arm(&self.page.request.avail.used_event, &self.page.reply.idx, self.taken)
    }
}

fn describe(descriptor: &Descriptor, addr: u64, len: u32, flags: u16) {
    descriptor.addr.store(addr, Relaxed);
    descriptor.len.store(len, Relaxed);
    descriptor.flags.store(flags, Relaxed);
}
