use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::*;
use crate::linux::virtio::testing::{BUFFERS, Driver, MEMORY, NEXT, Piece, readable, writable};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a transport would be woken now.
fn wakes(device: &ConsoleDevice) -> bool {
    let epoll = Epoll::new().unwrap();
    epoll
        .ctl(ControlOperation::Add, device.sources()[0], EpollEvent::new(EventSet::IN, 0))
        .unwrap();
    epoll.wait(0, &mut [EpollEvent::default()]).unwrap() == 1
}

#[test]
fn output_goes_to_the_sink_in_order_whatever_the_chains_look_like() {
    let log = Log::default();
    let mut device = ConsoleDevice::new(Box::new(log.clone()), None).unwrap();
    assert!(device.sources().is_empty());
    let (driver, mut queues) = Driver::start(&mut device);
    driver.write(BUFFERS, b"one two ");
    let long = vec![b'x'; 3 * PART + 1];
    driver.write(BUFFERS + 0x1000, &long);
    queues[TX].add(&[readable(BUFFERS, 4), readable(BUFFERS + 4, 4)]);
    queues[TX].add(&[readable(MEMORY as u64 - 1, 2)]);
    queues[TX].add(&[writable(BUFFERS, 4)]);
    queues[TX].add(&[readable(BUFFERS + 0x1000, long.len())]);
    device.kicked(TX);
    assert_eq!(*log.0.lock().unwrap(), [b"one two ".as_slice(), &long].concat());
    assert_eq!(std::iter::from_fn(|| queues[TX].used()).count(), 4, "bad ones go back too");
    assert_eq!(driver.interrupts.take(TX), 1);

    // A loop is as long as the queue.
    queues[TX].descriptor(9, Piece { at: BUFFERS, len: 4, flags: NEXT }, 9);
    queues[TX].offer(9);
    device.kicked(TX);
    assert_eq!(queues[TX].used(), Some((9, 0)));
}

#[test]
fn a_driver_that_wants_no_interrupts_gets_none() {
    let mut device = ConsoleDevice::new(Box::new(io::sink()), None).unwrap();
    let (driver, mut queues) = Driver::start(&mut device);
    queues[TX].set_flags(1);
    queues[TX].add(&[readable(BUFFERS, 4)]);
    device.kicked(TX);
    assert!(queues[TX].used().is_some());
    assert_eq!(driver.interrupts.take(TX), 0);
}

#[test]
fn input_waits_for_buffers_without_waking_anybody() {
    let (mut user, input) = UnixStream::pair().unwrap();
    let mut device = ConsoleDevice::new(Box::new(io::sink()), Some(input.into())).unwrap();
    user.write_all(b"ls\n").unwrap();
    assert!(!wakes(&device), "no driver");
    let (driver, mut queues) = Driver::start(&mut device);
    assert!(wakes(&device));
    let source = device.sources()[0];
    device.ready(source);
    assert!(!wakes(&device), "no buffer");

    queues[RX].add(&[writable(BUFFERS, 2)]);
    queues[RX].add(&[readable(BUFFERS, 2)]);
    queues[RX].add(&[writable(BUFFERS + 16, 2)]);
    queues[RX].add(&[writable(BUFFERS + 32, 2)]);
    device.kicked(RX);
    assert!(wakes(&device));
    device.ready(source);
    let used: Vec<_> = std::iter::from_fn(|| queues[RX].used()).collect();
    assert_eq!(used, [(0, 2), (1, 0), (2, 1)]);
    assert_eq!(
        (driver.read(BUFFERS, 2), driver.read(BUFFERS + 16, 1)),
        (b"ls".to_vec(), b"\n".to_vec())
    );
    assert_eq!(driver.interrupts.take(RX), 1);

    drop(user);
    assert!(wakes(&device));
    device.ready(source);
    device.kicked(RX);
    assert!(!wakes(&device), "its end is said once");
    device.reset();
    device.ready(source);
}

#[test]
fn a_file_is_no_input() {
    let file = tempfile::tempfile().unwrap();
    assert!(file.as_raw_fd() >= 0);
    let error = ConsoleDevice::new(Box::new(io::sink()), Some(file.into())).err().unwrap();
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
}
