//! Driver and device against each other.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, Thread};

use margay_channel::{Device, Driver, Relay, Reply, Request};

use common::{GPA, page};

fn request(n: u64) -> Request {
    Request {
        nr: n as u32,
        map_seq: !(n as u32),
        args: [n, n + 1, n + 2, n + 3, n + 4, u64::MAX - n],
    }
}

#[test]
fn a_call_goes_there_and_back_once() {
    let page = page();
    let (mut driver, mut device) = (Driver::new(&page, GPA), Device::new(&page, GPA));
    assert_eq!(device.poll(), Ok(None));
    assert_eq!(driver.poll(), None);
    driver.submit(&request(5));
    assert_eq!(device.poll(), Ok(Some(request(5))));
    assert_eq!(device.poll(), Ok(Some(request(5))), "until it is completed");
    assert_eq!(driver.poll(), None);
    let reply = Reply { ret: -14_i64 as u64, signals: 1 << 12 };
    device.complete(reply);
    assert_eq!(device.poll(), Ok(None));
    assert_eq!(driver.poll(), Some(reply));
    assert_eq!(driver.poll(), None);
}

#[test]
fn nobody_is_woken_while_both_poll_however_often_the_index_wraps() {
    let page = page();
    let (mut driver, mut device) = (Driver::new(&page, GPA), Device::new(&page, GPA));
    for n in 0..3 * 65_536 {
        driver.submit(&request(n));
        // In a fresh page the proxy is not known to poll yet, so the first request rings.
        assert_eq!(driver.must_ring(), n == 0, "call {n}");
        device.poll().unwrap().unwrap();
        assert!(!device.complete(Reply { ret: n, signals: 0 }), "call {n}");
        assert_eq!(driver.poll().unwrap().ret, n);
    }
}

#[test]
fn a_sleeper_is_woken_once_and_a_late_sleeper_stays_awake() {
    let page = page();
    let (mut driver, mut device) = (Driver::new(&page, GPA), Device::new(&page, GPA));
    for n in 0..70_000 {
        assert!(!device.arm(), "nothing to do: sleep");
        driver.submit(&request(n));
        assert!(driver.must_ring());
        assert!(device.arm(), "too late to sleep");
        assert!(!driver.arm(), "no reply yet: halt");
        device.poll().unwrap().unwrap();
        assert!(device.complete(Reply::default()));
        assert!(driver.arm(), "too late to halt");
        driver.poll().unwrap();

        driver.submit(&request(n));
        assert!(!driver.must_ring(), "awake since the last request");
        device.poll().unwrap().unwrap();
        assert!(!device.complete(Reply::default()));
        driver.poll().unwrap();
    }
}

#[test]
fn a_relay_sees_the_call_without_taking_it() {
    let page = page();
    let (mut driver, mut device) = (Driver::new(&page, GPA), Device::new(&page, GPA));
    let relay = Relay::new(&page);
    assert!(!relay.request_pending());
    device.arm();
    driver.submit(&request(1));
    assert!(relay.request_pending() && relay.proxy_must_be_rung() && !relay.reply_ready());
    device.poll().unwrap().unwrap();
    device.complete(Reply { ret: 9, signals: 0 });
    assert!(relay.reply_ready());
    assert_eq!(driver.poll(), Some(Reply { ret: 9, signals: 0 }));
    driver.submit(&request(2));
    assert!(!relay.proxy_must_be_rung(), "the proxy polls");
}

/// A sleep that an event ends, as `read` of an eventfd or `hlt` is.
fn sleep(event: &AtomicBool) {
    while !event.swap(false, Relaxed) {
        thread::park();
    }
}

fn wake(event: &AtomicBool, sleeper: &Thread) {
    event.store(true, Relaxed);
    sleeper.unpark();
}

/// How often a side of the stress test polls before it sleeps; changes from call to call.
fn budget(n: u64) -> u64 {
    [0, 1, 3, 200, 10_000][n as usize % 5]
}

#[test]
fn two_threads_that_poll_and_sleep_in_turn_lose_nothing() {
    const CALLS: u64 = 100_000;
    let page = page();
    let (kick, wake_up) = (AtomicBool::new(false), AtomicBool::new(false));
    let driver_thread = thread::current();
    let sleeps = AtomicU64::new(0);
    thread::scope(|scope| {
        let mut driver = Driver::new(&page, GPA);
        let device_side = scope.spawn(|| {
            let mut device = Device::new(&page, GPA);
            for n in 0..CALLS {
                let mut polls = 0;
                let got = loop {
                    if let Some(request) = device.poll().unwrap() {
                        break request;
                    }
                    polls += 1;
                    if polls > budget(n) && !device.arm() {
                        sleep(&kick);
                        sleeps.fetch_add(1, Relaxed);
                    }
                };
                assert_eq!(got, request(n));
                if device.complete(Reply { ret: n, signals: !n }) {
                    wake(&wake_up, &driver_thread);
                }
            }
        });
        for n in 0..CALLS {
            driver.submit(&request(n));
            if driver.must_ring() {
                wake(&kick, device_side.thread());
            }
            let mut polls = 0;
            let reply = loop {
                if let Some(reply) = driver.poll() {
                    break reply;
                }
                polls += 1;
                if polls > budget(n / 5) && !driver.arm() {
                    sleep(&wake_up);
                    sleeps.fetch_add(1, Relaxed);
                }
            };
            assert_eq!(reply, Reply { ret: n, signals: !n });
        }
    });
    assert!(sleeps.into_inner() > 1000, "the test must have slept to mean anything");
}
