//! The VMM's look at a channel on the hypercall path.

use margay_abi::channel::ChannelPage;

use crate::handshake;

/// Watches a channel without being either of its ends.
///
/// On the hypercall path the LWK submits as always and leaves the guest; the vCPU's thread then rings the proxy if it
/// must, waits until the reply is there, and enters the guest again, where the driver takes the reply. A relay that
/// tires of waiting may enter the guest early: the driver will find no reply, arm, and halt. Nothing here is written, and what
/// a guest writes can make only its own call go unserved.
#[derive(Clone, Copy, Debug)]
pub struct Relay<'a> {
    page: &'a ChannelPage,
}

impl<'a> Relay<'a> {
    /// Watches `page`.
    pub const fn new(page: &'a ChannelPage) -> Self {
        Relay { page }
    }

    /// Whether a request waits for its reply.
    #[inline]
    pub fn request_pending(&self) -> bool {
        handshake::observe(&self.page.request.avail.idx) != handshake::observe(&self.page.reply.idx)
    }

    /// Whether the proxy sleeps and must be rung for the pending request.
    #[inline]
    pub fn proxy_must_be_rung(&self) -> bool {
        let avail = handshake::observe(&self.page.request.avail.idx);
        handshake::must_notify(&self.page.reply.avail_event, avail)
    }

    /// Whether the last request has its reply.
    #[inline]
    pub fn reply_ready(&self) -> bool {
        !self.request_pending()
    }
}
