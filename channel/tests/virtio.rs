//! Proof that a channel is a virtqueue: an implementation that is not ours at the other end.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use margay_abi::channel::{
    ChannelPage, DESC_F_INDIRECT, DESC_F_NEXT, DESC_F_WRITE, INDIRECT_OFFSET, QUEUE_SIZE,
    REPLY_BYTES, REPLY_OFFSET, REQUEST_BYTES, REQUEST_OFFSET,
};
use margay_channel::{Device, Driver, Reply, Request};
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const GPA: u64 = 0x10_2000;
const AVAIL: u64 = GPA;
const USED: u64 = GPA + 64;
const TABLE: u64 = GPA + 128;

fn memory() -> GuestMemoryMmap {
    GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap()
}

fn page(memory: &GuestMemoryMmap) -> &ChannelPage {
    let slice = memory.get_slice(GuestAddress(GPA), size_of::<ChannelPage>()).unwrap();
    // SAFETY: the slice is a page of live, page-aligned guest memory, borrowed as long as the result; everything in
    // a `ChannelPage` is atomic, and valid whatever its bytes are.
    unsafe { &*slice.ptr_guard_mut().as_ptr().cast::<ChannelPage>() }
}

/// rust-vmm's device side over the channel's page.
fn queue(memory: &GuestMemoryMmap) -> Queue {
    let mut queue = Queue::new(QUEUE_SIZE).unwrap();
    queue.set_size(QUEUE_SIZE);
    queue.set_desc_table_address(Some(TABLE as u32), Some(0));
    queue.set_avail_ring_address(Some(AVAIL as u32), Some(0));
    queue.set_used_ring_address(Some(USED as u32), Some(0));
    queue.set_event_idx(true);
    queue.set_ready(true);
    assert!(queue.is_valid(memory));
    queue
}

#[test]
fn our_driver_is_served_by_rust_vmms_device() {
    let memory = memory();
    let mut driver = Driver::new(page(&memory), GPA);
    let mut queue = queue(&memory);
    for n in 0..70_000_u64 {
        let sleeps = n % 3 == 0;
        if sleeps {
            assert!(!queue.enable_notification(&memory).unwrap(), "nothing is there yet");
        }
        driver.submit(&Request { nr: n as u32, map_seq: 3, args: [n; 6] });
        assert_eq!(driver.must_ring(), sleeps || n == 0, "call {n}");
        let halts = n % 2 == 0;
        assert!(!halts || !driver.arm());

        let chain = queue.pop_descriptor_chain(&memory).unwrap();
        assert_eq!(chain.head_index(), 0);
        let buffers: Vec<_> = chain.collect();
        let [request, reply] = buffers[..] else { panic!("{buffers:?}") };
        assert!(!request.is_write_only() && reply.is_write_only());
        let mut words = [0_u64; 7];
        for (i, word) in words.iter_mut().enumerate() {
            *word = memory.read_obj(GuestAddress(request.addr().0 + 8 * i as u64)).unwrap();
        }
        assert_eq!(request.len() as usize, size_of_val(&words));
        assert_eq!(words, [n & 0xffff_ffff | 3 << 32, n, n, n, n, n, n]);
        memory.write_obj(n + 1, reply.addr()).unwrap();
        memory.write_obj(n + 2, GuestAddress(reply.addr().0 + 8)).unwrap();
        assert!(driver.poll().is_none());
        queue.add_used(&memory, 0, reply.len()).unwrap();
        assert_eq!(queue.needs_notification(&memory).unwrap(), halts || n == 0, "call {n}");

        assert_eq!(driver.poll(), Some(Reply { ret: n + 1, signals: n + 2 }));
    }
}

#[test]
fn our_device_serves_a_driver_written_from_the_specification() {
    let memory = memory();
    let mut device = Device::new(page(&memory), GPA);
    let write = |addr, addr_of_buffer, len, flags, next| {
        let descriptor = RawDescriptor::from(Descriptor::new(addr_of_buffer, len, flags, next));
        memory.write_obj(descriptor, GuestAddress(addr)).unwrap();
    };
    write(TABLE, GPA + INDIRECT_OFFSET, 32, DESC_F_INDIRECT, 0);
    write(GPA + INDIRECT_OFFSET, GPA + REQUEST_OFFSET, REQUEST_BYTES, DESC_F_NEXT, 1);
    write(GPA + INDIRECT_OFFSET + 16, GPA + REPLY_OFFSET, REPLY_BYTES, DESC_F_WRITE, 0);
    for n in 0..3_u16 {
        let sleeps = n != 1;
        assert!(!sleeps || !device.arm());
        memory.write_obj(39_u32, GuestAddress(GPA + REQUEST_OFFSET)).unwrap();
        memory.write_obj(0_u16, GuestAddress(AVAIL + 4)).unwrap();
        memory.write_obj(n, GuestAddress(AVAIL + 6)).unwrap();
        memory.store(n + 1, GuestAddress(AVAIL + 2), Relaxed).unwrap();
        let avail_event: u16 = memory.read_obj(GuestAddress(USED + 12)).unwrap();
        assert_eq!(avail_event == n, sleeps);

        assert_eq!(device.poll().unwrap().unwrap().nr, 39);
        assert!(device.complete(Reply { ret: 77, signals: 0 }), "used_event is level");
        let used: u16 = memory.load(GuestAddress(USED + 2), Acquire).unwrap();
        assert_eq!(used, n + 1);
        let elem: u64 = memory.read_obj(GuestAddress(USED + 4)).unwrap();
        assert_eq!(elem, u64::from(REPLY_BYTES) << 32, "id 0, length of the reply");
        let ret: u64 = memory.read_obj(GuestAddress(GPA + REPLY_OFFSET)).unwrap();
        assert_eq!(ret, 77);
    }
}
