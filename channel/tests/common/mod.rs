//! A channel's page outside any guest.

use margay_abi::channel::ChannelPage;

/// Where the tests pretend the page lies.
pub const GPA: u64 = 0x10_2000;

/// A zeroed page.
pub fn page() -> Box<ChannelPage> {
    // SAFETY: the page is made of atomic integers (and padding), for which zero bytes are valid.
    Box::new(unsafe { std::mem::zeroed() })
}
