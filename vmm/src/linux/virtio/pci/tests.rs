//! The function as a driver finds it, and as a hostile one treats it.

use std::sync::{Arc, Mutex};

use proptest::prelude::{any, prop_assert_eq, proptest};

use super::{ACCESS_DATA, VirtioPci};
use crate::linux::pci::Function;
use crate::linux::virtio::tests::{Probe, Seen, Sent, memory};

const START: u32 = 0xc000_8000;

fn device() -> (VirtioPci<Arc<Sent>>, Arc<Mutex<Seen>>, Arc<Sent>) {
    let (seen, sent) = (Arc::new(Mutex::new(Seen::default())), Arc::new(Sent::default()));
    let probe = Box::new(Probe(Arc::clone(&seen)));
    (VirtioPci::new(probe, memory(), Arc::clone(&sent), START).unwrap(), seen, sent)
}

fn config(device: &VirtioPci<Arc<Sent>>, at: usize) -> u32 {
    let mut data = [0; 4];
    device.read_config(at, &mut data);
    u32::from_le_bytes(data)
}

/// Offsets of the capabilities with their ids.
fn capabilities(device: &VirtioPci<Arc<Sent>>) -> Vec<(u8, usize)> {
    let mut found = Vec::new();
    let mut at = config(device, 0x34) as u8 as usize;
    while at != 0 {
        let head = config(device, at);
        found.push((head as u8, at));
        at = (head >> 8) as u8 as usize;
    }
    found
}

#[test]
fn a_driver_finds_every_structure_once() {
    let (device, ..) = device();
    assert_eq!(config(&device, 0), 0x1044_1af4);
    let list = capabilities(&device);
    assert_eq!(list.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [9, 9, 9, 9, 9, 0x11]);
    let kinds: Vec<u8> =
        list[..5].iter().map(|(_, at)| (config(&device, *at) >> 24) as u8).collect();
    assert_eq!(kinds, [1, 2, 3, 4, 5]);
    let (_, msix) = list[5];
    assert_eq!(config(&device, msix) >> 16 & 0x7ff, 2, "three vectors");
    assert_eq!((config(&device, msix + 4), config(&device, msix + 8)), (0x4000, 0x5000));
}

#[test]
fn configuration_space_leads_into_the_window() {
    let (device, ..) = device();
    let access = device.access;
    device.write_config(access + 8, &0x2000_u32.to_le_bytes());
    device.write_config(access + 12, &4_u32.to_le_bytes());
    assert_eq!(config(&device, access + ACCESS_DATA), 0xa3a2_a1a0);
    device.write_config(access + 8, &0x8000_u32.to_le_bytes());
    config(&device, access + ACCESS_DATA);
}

#[test]
fn interrupts_follow_the_vectors() {
    let (device, _, sent) = device();
    let (_, msix) = capabilities(&device)[5];
    device.write_memory(0x4010, &0xfee0_0000_u64.to_le_bytes());
    device.write_memory(0x4018, &0x51_u32.to_le_bytes());
    device.write_memory(0x401c, &0_u32.to_le_bytes());
    device.write_config(msix + 2, &(1_u16 << 15).to_le_bytes());
    device.write_memory(0x16, &1_u16.to_le_bytes());
    device.write_memory(0x1a, &1_u16.to_le_bytes());
    use crate::linux::virtio::Interrupt;
    device.interrupt.queue(0);
    assert!(sent.0.lock().unwrap().is_empty(), "queue 0 has no vector");
    device.interrupt.queue(1);
    assert_eq!(*sent.0.lock().unwrap(), [(0xfee0_0000, 0x51)]);
    let mut isr = [0xff; 4];
    device.read_memory(0x1000, &mut isr);
    assert_eq!(isr, [1, 0, 0, 0]);
    device.read_memory(0x1000, &mut isr);
    assert_eq!(isr, [0; 4], "reading clears it");
}

#[test]
fn a_change_of_the_configuration_is_announced() {
    use crate::linux::virtio::Interrupt;
    let (device, ..) = device();
    let generation = device.interrupt.generation();
    device.interrupt.config();
    assert_ne!(device.interrupt.generation(), generation);
    assert_eq!(device.interrupt.take_isr(), 2);
}

#[test]
fn kicks_reach_the_device_only_when_it_has_queues() {
    let (device, seen, _) = device();
    device.write_memory(0x3004, &1_u16.to_le_bytes());
    assert_eq!(device.kicks().nth(1).unwrap().0, u64::from(START) + 0x3004);
    device.kicked(1);
    assert!(seen.lock().unwrap().kicks.is_empty());
    assert!(device.kicks().nth(1).unwrap().1.read().is_err(), "the kick was taken");
}

proptest! {
    #[test]
    fn any_access_is_survived(accesses in proptest::collection::vec((0..0x8000_u64, 0..256_usize, any::<[u8; 8]>(), 0..9_usize), 0..60)) {
        let (device, ..) = device();
        for (at, register, data, length) in accesses {
            device.write_memory(at, &data[..length]);
            device.read_memory(at, &mut { data }[..length]);
            let length = length.min(4 - register % 4);
            device.write_config(register, &data[..length]);
            device.read_config(register, &mut { data }[..length]);
        }
        prop_assert_eq!(config(&device, 0), 0x1044_1af4);
    }
}
