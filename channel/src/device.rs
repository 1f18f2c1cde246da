//! The device's half: the proxy serves calls, and believes nothing that a guest wrote.

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use margay_abi::channel::{
    ChannelPage, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, Descriptor, INDIRECT_OFFSET,
    REPLY_BYTES, REPLY_OFFSET, REQUEST_BYTES, REQUEST_OFFSET,
};

use crate::handshake;
use crate::{Reply, Request};

/// How a driver broke the queue. There is no way on from here: a ring that was wrong once cannot be trusted again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RingError {
    /// `avail.idx` did not step by one: the queue has one entry, and the last reply was not yet given.
    Index {
        /// Requests served so far.
        served: u16,
        /// What the driver wrote.
        avail: u16,
    },
    /// The head of the chain is not descriptor 0, the only one.
    Head(u16),
    /// A descriptor does not describe its part of this channel's page.
    Descriptor(Part),
}

/// The three descriptors of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Descriptor 0 of the queue: the indirect table.
    Table,
    /// Indirect descriptor 0: the request.
    Request,
    /// Indirect descriptor 1: the reply.
    Reply,
}

impl fmt::Display for RingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RingError::Index { served, avail } => write!(
                f,
                "the guest's available index is {avail} after {served} calls served, not one more"
            ),
            RingError::Head(head) => {
                write!(f, "the guest made descriptor {head} available in a queue of one")
            }
            RingError::Descriptor(part) => {
                let part = match part {
                    Part::Table => "indirect-table",
                    Part::Request => "request",
                    Part::Reply => "reply",
                };
                write!(f, "the guest's {part} descriptor points outside its channel's buffers")
            }
        }
    }
}

impl core::error::Error for RingError {}

/// One proxy thread's end of its channel.
///
/// `poll` until a request is there, serve it, `complete` it; to sleep in between, `arm`.
#[derive(Debug)]
pub struct Device<'a> {
    page: &'a ChannelPage,
    page_gpa: u64,
    /// `used.idx`: requests served.
    served: u16,
}

impl<'a> Device<'a> {
    /// Serves the queue in `page`, which lies at guest-physical `page_gpa` and that no device has served before.
    pub fn new(page: &'a ChannelPage, page_gpa: u64) -> Self {
        let [elem] = &page.reply.ring;
        elem.id.store(0, Relaxed);
        elem.len.store(REPLY_BYTES, Relaxed);
        Device { page, page_gpa, served: 0 }
    }

    /// The request to serve, if there is one; the same again until it is completed.
    ///
    /// # Errors
    /// The guest broke the ring.
    #[inline]
    pub fn poll(&mut self) -> Result<Option<Request>, RingError> {
        let line = &self.page.request;
        let avail = handshake::observe(&line.avail.idx);
        if avail == self.served {
            return Ok(None);
        }
        if avail != self.served.wrapping_add(1) {
            return Err(RingError::Index { served: self.served, avail });
        }
        self.check_chain()?;
        let body = &line.body;
        Ok(Some(Request {
            nr: body.nr.load(Relaxed),
            map_seq: body.map_seq.load(Relaxed),
            args: core::array::from_fn(|i| body.args[i].load(Relaxed)),
        }))
    }

    /// Asks for a doorbell with the next request. True if there is one already: do not sleep.
    ///
    /// The next [`Device::complete`] takes the wish back; see the crate's page on waiting.
    pub fn arm(&mut self) -> bool {
        handshake::arm(&self.page.reply.avail_event, &self.page.request.avail.idx, self.served)
    }

    /// Gives the reply to the request that [`Device::poll`] showed. True if the driver sleeps and must be interrupted.
    #[inline]
    pub fn complete(&mut self, reply: Reply) -> bool {
        let line = &self.page.reply;
        line.body.ret.store(reply.ret, Relaxed);
        line.body.signals.store(reply.signals, Relaxed);
        self.served = self.served.wrapping_add(1);
        handshake::trail(&line.avail_event, self.served);
        handshake::publish(&line.idx, self.served);
        handshake::must_notify(&self.page.request.avail.used_event, self.served)
    }

    /// Checks that the chain names exactly this channel's buffers (virtio 1.2 sections 2.7.5 and 2.7.5.3).
    ///
    /// The device then reads and writes the page itself, never an address of the guest, so a guest that changes
    /// a descriptor after the check gains nothing.
    #[inline]
    fn check_chain(&self) -> Result<(), RingError> {
        let [head] = &self.page.request.avail.ring;
        let head = head.load(Relaxed);
        if head != 0 {
            return Err(RingError::Head(head));
        }
        let [table] = &self.page.descriptors.table;
        let [request, reply] = &self.page.descriptors.indirect;
        let table_bytes = size_of_val(&self.page.descriptors.indirect) as u32;
        if !self.describes(table, INDIRECT_OFFSET, table_bytes, DESC_F_INDIRECT) {
            return Err(RingError::Descriptor(Part::Table));
        }
        if !self.describes(request, REQUEST_OFFSET, REQUEST_BYTES, DESC_F_NEXT)
            || request.next.load(Relaxed) != 1
        {
            return Err(RingError::Descriptor(Part::Request));
        }
        if !self.describes(reply, REPLY_OFFSET, REPLY_BYTES, DESC_F_WRITE) {
            return Err(RingError::Descriptor(Part::Reply));
        }
        Ok(())
    }

    #[inline]
    fn describes(&self, descriptor: &Descriptor, offset: u64, len: u32, flags: u16) -> bool {
        descriptor.addr.load(Relaxed) == self.page_gpa + offset
            && descriptor.len.load(Relaxed) == len
            && descriptor.flags.load(Relaxed) == flags
    }
}
