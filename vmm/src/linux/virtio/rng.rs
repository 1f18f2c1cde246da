//! The entropy device (virtio 1.2, 5.4): without one a guest's first program that wants random numbers may wait for long.

use std::os::fd::RawFd;

use virtio_queue::{DescriptorChain, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestMemoryMmap};

use super::device::{Activation, VirtioDevice};

/// Device type.
const TYPE: u32 = 4;
/// Most bytes for one request: a guest that asks for its whole memory gets some, and asks again.
const MOST: usize = 4096;

/// An entropy device that gives the host's random numbers.
#[derive(Default)]
pub struct Rng {
    active: Option<Activation>,
}

impl VirtioDevice for Rng {
    fn device_type(&self) -> u32 {
        TYPE
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[64]
    }

    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn activate(&mut self, activation: Activation) {
        self.active = Some(activation);
    }

    fn reset(&mut self) {
        self.active = None;
    }

    fn sources(&self) -> Vec<RawFd> {
        Vec::new()
    }

    fn kicked(&mut self, _index: usize) {
        let Some(Activation { memory, queues, interrupt, .. }) = &mut self.active else { return };
        let queue = &mut queues[0];
        // As many requests as the queue holds: the guest may add more meanwhile, and kicks again.
        for _ in 0..queue.size() {
            let Some(chain) = queue.iter(&*memory).ok().and_then(|mut chains| chains.next()) else {
                break;
            };
            let head = chain.head_index();
            let written = fill(memory, chain);
            if queue.add_used(&*memory, head, written).is_err() {
                return;
            }
        }
        if queue.needs_notification(&*memory).unwrap_or(false) {
            interrupt.queue(0);
        }
    }

    fn ready(&mut self, _source: RawFd) {}
}

/// Fills the writable buffers of one request; returns the bytes written.
fn fill(memory: &GuestMemoryMmap, chain: DescriptorChain<&GuestMemoryMmap>) -> u32 {
    let mut random = [0; MOST];
    let mut written = 0;
    for buffer in chain.writable() {
        let length = (buffer.len() as usize).min(MOST - written);
        let bytes = &mut random[..length];
        if length == 0 || !random_bytes(bytes) || memory.write_slice(bytes, buffer.addr()).is_err()
        {
            break;
        }
        written += length;
    }
    written as u32
}

/// Fills `bytes` with the host's random numbers. `false` where it has none, which is only before its own start is over.
fn random_bytes(bytes: &mut [u8]) -> bool {
    // SAFETY: the kernel writes at most `bytes.len()` bytes.
    let got =
        unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_NONBLOCK) };
    usize::try_from(got) == Ok(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::{MOST, Rng};
    use crate::linux::virtio::{Activation, Interrupt, VirtioDevice};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use virtio_queue::{Queue, QueueT};
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Interrupt for Count {
        fn queue(&self, _index: usize) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn config(&self) {}
    }

    const WRITE: u16 = 2;
    const DESCRIPTORS: u64 = 0x1000;
    const AVAILABLE: u64 = 0x2000;
    const USED: u64 = 0x3000;

    fn request(buffer: u64, length: u32, flags: u16) -> (GuestMemoryMmap, Arc<Count>) {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap();
        memory.write_obj(buffer, GuestAddress(DESCRIPTORS)).unwrap();
        memory.write_obj(length, GuestAddress(DESCRIPTORS + 8)).unwrap();
        memory.write_obj(flags, GuestAddress(DESCRIPTORS + 12)).unwrap();
        memory.write_obj(1_u16, GuestAddress(AVAILABLE + 2)).unwrap();
        let mut queue = Queue::new(64).unwrap();
        queue.set_desc_table_address(Some(DESCRIPTORS as u32), None);
        queue.set_avail_ring_address(Some(AVAILABLE as u32), None);
        queue.set_used_ring_address(Some(USED as u32), None);
        queue.set_ready(true);
        let count = Arc::new(Count::default());
        let mut rng = Rng::default();
        rng.activate(Activation {
            memory: memory.clone(),
            queues: vec![queue],
            interrupt: count.clone(),
            features: 0,
        });
        rng.kicked(0);
        (memory, count)
    }

    fn used(memory: &GuestMemoryMmap) -> (u16, u32) {
        let index = memory.read_obj(GuestAddress(USED + 2)).unwrap();
        (index, memory.read_obj(GuestAddress(USED + 8)).unwrap())
    }

    #[test]
    fn a_request_is_filled() {
        let (memory, count) = request(0x8000, 64, WRITE);
        assert_eq!(used(&memory), (1, 64));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        let bytes: [u64; 8] = memory.read_obj(GuestAddress(0x8000)).unwrap();
        assert!(bytes.iter().all(|word| *word != 0));
    }

    #[test]
    fn hostile_requests_get_less() {
        assert_eq!(used(&request(0x8000, u32::MAX, WRITE).0), (1, MOST as u32));
        assert_eq!(used(&request(0x8000, 64, 0).0), (1, 0), "not writable");
        assert_eq!(used(&request(u64::MAX - 8, 64, WRITE).0), (1, 0), "not in memory");
    }
}
