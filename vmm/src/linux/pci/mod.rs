//! A PCI bus: how a guest finds its devices.
//!
//! One bus of 32 slots with one function each, reached by configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2), which every
//! kernel and firmware knows. Windows are assigned by us and stay where they are.

mod config;
mod msix;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

pub use config::{ConfigSpace, Identity, Window};
pub use msix::{CAPABILITY as MSIX_CAPABILITY, ENTRY_BYTES as MSIX_ENTRY_BYTES, Messages, Msix};

/// Port of the address register.
pub const CONFIG_ADDRESS: u16 = 0xcf8;
/// First port of the data register.
pub const CONFIG_DATA: u16 = 0xcfc;
/// Functions that a bus has room for, beside the host bridge.
pub const MAX_FUNCTIONS: usize = 31;

/// Address register: accesses to the data register reach a configuration space.
const ENABLE: u32 = 1 << 31;

/// A function of a device.
pub trait Function: Send + Sync {
    /// Reads its configuration space. The access lies in one aligned dword.
    fn read_config(&self, offset: usize, data: &mut [u8]);
    /// Writes it.
    fn write_config(&self, offset: usize, data: &[u8]);
    /// Its memory window, while it answers to it.
    fn window(&self) -> Option<Window>;
    /// Reads its memory window. The first byte is in the window.
    fn read_memory(&self, offset: u64, data: &mut [u8]);
    /// Writes it.
    fn write_memory(&self, offset: u64, data: &[u8]);
}

/// The bus. Slot 0 is the host bridge.
pub struct PciBus {
    functions: Vec<Arc<dyn Function>>,
    address: AtomicU32,
}

impl PciBus {
    /// A bus with `devices`, at most [`MAX_FUNCTIONS`], in slots 1 and up.
    pub fn new(devices: Vec<Arc<dyn Function>>) -> PciBus {
        assert!(devices.len() <= MAX_FUNCTIONS, "the caller counts");
        let mut functions: Vec<Arc<dyn Function>> = vec![Arc::new(HostBridge::new())];
        functions.extend(devices);
        PciBus { functions, address: AtomicU32::new(0) }
    }

    /// Reads from `port`, one of the eight from [`CONFIG_ADDRESS`].
    pub fn read_port(&self, port: u16, data: &mut [u8]) {
        data.fill(0xff);
        if port < CONFIG_DATA {
            if let (CONFIG_ADDRESS, Ok(dword)) = (port, <&mut [u8; 4]>::try_from(data)) {
                *dword = self.address.load(Ordering::Relaxed).to_le_bytes();
            }
        } else if let Some((function, offset)) = self.selected(port, data.len()) {
            function.read_config(offset, data);
        }
    }

    /// Writes to `port`, one of the eight from [`CONFIG_ADDRESS`]. Only a whole dword reaches the address register.
    pub fn write_port(&self, port: u16, data: &[u8]) {
        if port < CONFIG_DATA {
            if let (CONFIG_ADDRESS, Ok(dword)) = (port, data.try_into()) {
                self.address.store(u32::from_le_bytes(dword), Ordering::Relaxed);
            }
        } else if let Some((function, offset)) = self.selected(port, data.len()) {
            function.write_config(offset, data);
        }
    }

    /// Reads memory at guest-physical `address`; ones, where no function answers.
    pub fn read_memory(&self, address: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let Some((function, offset)) = self.at(address) {
            function.read_memory(offset, data);
        }
    }

    /// Writes memory at guest-physical `address`.
    pub fn write_memory(&self, address: u64, data: &[u8]) {
        if let Some((function, offset)) = self.at(address) {
            function.write_memory(offset, data);
        }
    }

    /// The function that the address register names, and the offset of the access in its configuration space.
    fn selected(&self, port: u16, length: usize) -> Option<(&dyn Function, usize)> {
        let address = self.address.load(Ordering::Relaxed);
        let (bus, slot) = (address >> 16 & 0xff, address >> 11 & 0x1f);
        let (function, register) = (address >> 8 & 0x7, address & 0xfc);
        let within = usize::from(port - CONFIG_DATA);
        if address & ENABLE == 0 || bus != 0 || function != 0 || within + length > 4 {
            return None;
        }
        Some((self.functions.get(slot as usize)?.as_ref(), register as usize + within))
    }

    fn at(&self, address: u64) -> Option<(&dyn Function, u64)> {
        self.functions.iter().find_map(|function| {
            let window = function.window()?;
            let offset = address.checked_sub(u64::from(window.start))?;
            (offset < u64::from(window.bytes)).then_some((function.as_ref(), offset))
        })
    }
}

/// The bridge between processors and bus: it is there because kernels believe in configuration mechanism 1 only when they
/// find one.
struct HostBridge(ConfigSpace);

impl HostBridge {
    fn new() -> HostBridge {
        // Intel's "virtual PCIe host bridge": the one id that firmware for virtual machines takes as a machine without quirks.
        let id = (0x8086, 0x0d57);
        let identity = Identity { id, subsystem: (0, 0), class: [0x06, 0x00, 0x00], revision: 0 };
        HostBridge(ConfigSpace::new(identity, None))
    }
}

impl Function for HostBridge {
    fn read_config(&self, offset: usize, data: &mut [u8]) {
        self.0.read(offset, data);
    }

    fn write_config(&self, _offset: usize, _data: &[u8]) {}

    fn window(&self) -> Option<Window> {
        None
    }

    fn read_memory(&self, _offset: u64, _data: &mut [u8]) {}

    fn write_memory(&self, _offset: u64, _data: &[u8]) {}
}

#[cfg(test)]
mod tests {
    use super::PciBus;
    use proptest::prelude::{any, proptest};

    fn read(bus: &PciBus, address: u32, port: u16, length: usize) -> u32 {
        bus.write_port(0xcf8, &address.to_le_bytes());
        let mut data = [0; 4];
        bus.read_port(port, &mut data[..length]);
        u32::from_le_bytes(data)
    }

    #[test]
    fn the_host_bridge_is_alone_on_an_empty_bus() {
        let bus = PciBus::new(Vec::new());
        assert_eq!(read(&bus, 0x8000_0000, 0xcfc, 4), 0x0d57_8086);
        assert_eq!(read(&bus, 0x8000_0008, 0xcfe, 2), 0x0600);
        assert_eq!(read(&bus, 0x8000_0800, 0xcfc, 4), 0xffff_ffff, "slot 1");
        assert_eq!(read(&bus, 0x8000_0100, 0xcfc, 4), 0xffff_ffff, "function 1");
        assert_eq!(read(&bus, 0x8001_0000, 0xcfc, 4), 0xffff_ffff, "bus 1");
        assert_eq!(read(&bus, 0x0000_0000, 0xcfc, 4), 0xffff_ffff, "not enabled");
    }

    #[test]
    fn the_address_register_takes_dwords_only() {
        let bus = PciBus::new(Vec::new());
        bus.write_port(0xcf8, &0x8000_0000_u32.to_le_bytes());
        bus.write_port(0xcfb, &[1]);
        let mut data = [0; 4];
        bus.read_port(0xcf8, &mut data);
        assert_eq!(u32::from_le_bytes(data), 0x8000_0000);
    }

    proptest! {
        #[test]
        fn any_access_is_survived(accesses in proptest::collection::vec((0xcf8_u16..0xd00, any::<[u8; 8]>(), 0..=8_usize, any::<u64>()), 0..50)) {
            let bus = PciBus::new(Vec::new());
            for (port, data, length, address) in accesses {
                bus.write_port(port, &data[..length]);
                bus.read_port(port, &mut { data }[..length]);
                bus.write_memory(address, &data[..length]);
                bus.read_memory(address, &mut { data }[..length]);
            }
        }
    }
}
