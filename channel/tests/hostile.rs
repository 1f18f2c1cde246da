//! A driver that writes what it likes.

mod common;

use std::sync::atomic::Ordering::Relaxed;

use margay_abi::channel::ChannelPage;
use margay_channel::{Device, Driver, Part, Reply, Request, RingError};
use proptest::prelude::*;

use common::{GPA, page};

/// A page with a good request in it.
fn submitted() -> Box<ChannelPage> {
    let page = page();
    Driver::new(&page, GPA).submit(&Request { nr: 1, ..Request::default() });
    page
}

fn poll(page: &ChannelPage) -> Result<Option<Request>, RingError> {
    Device::new(page, GPA).poll()
}

#[test]
fn each_lie_has_its_error() {
    type Lie = fn(&ChannelPage);
    let table: [(Lie, RingError); 9] = [
        (|p| p.request.avail.idx.store(2, Relaxed), RingError::Index { served: 0, avail: 2 }),
        (
            |p| p.request.avail.idx.store(0xffff, Relaxed),
            RingError::Index { served: 0, avail: 0xffff },
        ),
        (|p| p.request.avail.ring[0].store(1, Relaxed), RingError::Head(1)),
        (
            |p| p.descriptors.table[0].addr.store(u64::MAX, Relaxed),
            RingError::Descriptor(Part::Table),
        ),
        (|p| p.descriptors.table[0].flags.store(0, Relaxed), RingError::Descriptor(Part::Table)),
        (
            |p| p.descriptors.indirect[0].len.store(4096, Relaxed),
            RingError::Descriptor(Part::Request),
        ),
        (
            |p| p.descriptors.indirect[0].next.store(0, Relaxed),
            RingError::Descriptor(Part::Request),
        ),
        (|p| p.descriptors.indirect[1].flags.store(0, Relaxed), RingError::Descriptor(Part::Reply)),
        (
            |p| p.descriptors.indirect[1].addr.store(GPA, Relaxed),
            RingError::Descriptor(Part::Reply),
        ),
    ];
    for (lie, error) in table {
        let page = submitted();
        lie(&page);
        assert_eq!(poll(&page), Err(error));
        assert!(error.to_string().starts_with("the guest"));
    }
}

#[test]
fn a_second_request_before_the_reply_is_an_error() {
    let page = submitted();
    let mut device = Device::new(&page, GPA);
    device.poll().unwrap().unwrap();
    device.complete(Reply::default());
    page.request.avail.idx.store(3, Relaxed);
    assert_eq!(device.poll(), Err(RingError::Index { served: 1, avail: 3 }));
}

/// Everything that a driver writes, as 48 little words: lines 0 and 2.
fn scribble(page: &ChannelPage, words: &[(u8, u16)]) {
    for &(at, value) in words {
        let low = u64::from(value);
        let avail = &page.request.avail;
        let descriptors = &page.descriptors;
        let descriptor = match at & 3 {
            0 => &descriptors.table[0],
            n => &descriptors.indirect[usize::from(n) & 1],
        };
        match at >> 2 & 15 {
            0 => avail.idx.store(value, Relaxed),
            1 => avail.ring[0].store(value, Relaxed),
            2 => avail.used_event.store(value, Relaxed),
            3 => avail.flags.store(value, Relaxed),
            4 => descriptor.addr.store(low, Relaxed),
            5 => descriptor.addr.store(low << 48 | low, Relaxed),
            6 => descriptor.len.store(u32::from(value), Relaxed),
            7 => descriptor.flags.store(value, Relaxed),
            8 => descriptor.next.store(value, Relaxed),
            9 => page.request.body.nr.store(u32::from(value), Relaxed),
            10 => page.request.body.map_seq.store(u32::from(value), Relaxed),
            n => page.request.body.args[usize::from(n) % 6].store(low << 32 | low, Relaxed),
        }
    }
}

proptest! {
    #[test]
    fn garbage_is_an_error_or_the_request_that_stands_in_the_page(
        rounds in proptest::collection::vec(
            proptest::collection::vec((any::<u8>(), prop_oneof![0_u16..4, any::<u16>()]), 0..12),
            1..6,
        ),
    ) {
        let page = submitted();
        let mut device = Device::new(&page, GPA);
        let mut served = 0_u16;
        for words in rounds {
            scribble(&page, &words);
            match device.poll() {
                Ok(Some(got)) => {
                    prop_assert_eq!(page.request.avail.idx.load(Relaxed), served.wrapping_add(1));
                    prop_assert_eq!(got.nr, page.request.body.nr.load(Relaxed));
                    prop_assert_eq!(got.args[5], page.request.body.args[5].load(Relaxed));
                    device.complete(Reply { ret: 1, signals: 2 });
                    served = served.wrapping_add(1);
                }
                Ok(None) => prop_assert_eq!(page.request.avail.idx.load(Relaxed), served),
                Err(_) => {}
            }
            device.arm();
        }
        prop_assert_eq!(page.reply.idx.load(Relaxed), served);
    }
}
