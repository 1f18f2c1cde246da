//! What the tests of the transport drive: a device that remembers what was done to it.

use std::os::fd::RawFd;
use std::sync::{Arc, Mutex};

use vm_memory::{GuestAddress, GuestMemoryMmap};

use super::device::{Activation, VirtioDevice};
use crate::linux::pci::Messages;

/// Messages that were sent.
#[derive(Default)]
pub struct Sent(pub Mutex<Vec<(u64, u32)>>);

impl Messages for Sent {
    fn send(&self, address: u64, data: u32) {
        self.0.lock().unwrap().push((address, data));
    }
}

/// What a device has seen.
#[derive(Default)]
pub struct Seen {
    pub activation: Option<Activation>,
    pub resets: usize,
    pub kicks: Vec<usize>,
}

/// A device of two queues.
pub struct Probe(pub Arc<Mutex<Seen>>);

impl VirtioDevice for Probe {
    fn device_type(&self) -> u32 {
        4
    }
    fn features(&self) -> u64 {
        1 << 29 | 1
    }
    fn queue_sizes(&self) -> &[u16] {
        &[64, 128]
    }
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        for (at, byte) in (offset..).zip(data) {
            *byte = if at < 4 { 0xa0 + at as u8 } else { 0 };
        }
    }
    fn activate(&mut self, activation: Activation) {
        self.0.lock().unwrap().activation = Some(activation);
    }
    fn reset(&mut self) {
        let mut seen = self.0.lock().unwrap();
        seen.activation = None;
        seen.resets += 1;
    }
    fn sources(&self) -> Vec<RawFd> {
        Vec::new()
    }
    fn kicked(&mut self, index: usize) {
        self.0.lock().unwrap().kicks.push(index);
    }
    fn ready(&mut self, _source: RawFd) {}
}

/// Bytes of the guest's memory.
pub const MEMORY: usize = 1 << 20;

pub fn memory() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY)]).unwrap()
}
