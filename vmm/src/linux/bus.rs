//! What a guest's port and memory accesses reach.

use std::sync::Arc;

use super::end::Ending;
use super::pci::{self, PciBus};
use super::serial::{self, SerialPort};
use super::{layout, power};

/// Everything at an address, as one guest sees it.
pub(super) struct Bus {
    /// The serial port.
    pub serial: SerialPort,
    /// The devices.
    pub pci: PciBus,
    /// What the power registers bring about.
    pub ending: Arc<Ending>,
}

/// Last port of the PCI registers.
const PCI_LAST: u16 = pci::CONFIG_DATA + 3;
const SERIAL_LAST: u16 = serial::PORT + serial::PORTS - 1;
const POWER_LAST: u16 = power::RESET;
const WINDOW_LAST: u64 = layout::PCI_WINDOW + layout::PCI_WINDOW_BYTES - 1;

impl Bus {
    /// The guest reads a port. What is not there reads as ones.
    pub fn read_port(&self, port: u16, data: &mut [u8]) {
        data.fill(0xff);
        match port {
            serial::PORT..=SERIAL_LAST => {
                let offset = (port - serial::PORT) as u8;
                data.iter_mut().for_each(|byte| *byte = self.serial.read(offset));
            }
            pci::CONFIG_ADDRESS..=PCI_LAST => self.pci.read_port(port, data),
            power::PORT..=POWER_LAST | power::KEYBOARD => data.fill(power::read(port)),
            _ => {}
        }
    }

    /// The guest writes a port. A string instruction's bytes come together and go to the same register.
    pub fn write_port(&self, port: u16, data: &[u8]) {
        match port {
            serial::PORT..=SERIAL_LAST => {
                let offset = (port - serial::PORT) as u8;
                data.iter().for_each(|byte| self.serial.write(offset, *byte));
            }
            pci::CONFIG_ADDRESS..=PCI_LAST => self.pci.write_port(port, data),
            power::PORT..=POWER_LAST | power::KEYBOARD => {
                if let Some(end) = data.iter().find_map(|value| power::written(port, *value)) {
                    self.ending.set(end);
                }
            }
            _ => {}
        }
    }

    /// The guest reads memory where there is none.
    pub fn read_memory(&self, address: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let layout::PCI_WINDOW..=WINDOW_LAST = address {
            self.pci.read_memory(address, data);
        }
    }

    /// The guest writes memory where there is none.
    pub fn write_memory(&self, address: u64, data: &[u8]) {
        if let layout::PCI_WINDOW..=WINDOW_LAST = address {
            self.pci.write_memory(address, data);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Bus;
    use crate::linux::console::Console;
    use crate::linux::end::{Ending, LinuxEnd};
    use crate::linux::pci::PciBus;
    use crate::linux::serial::SerialPort;
    use proptest::prelude::{any, proptest};
    use std::sync::Arc;
    use vmm_sys_util::eventfd::EventFd;

    fn bus() -> Bus {
        let console = Arc::new(Console::default());
        Bus {
            serial: SerialPort::new(console, EventFd::new(0).unwrap()),
            pci: PciBus::new(Vec::new()),
            ending: Arc::new(Ending::new().unwrap()),
        }
    }

    #[test]
    fn the_power_registers_end_the_guest() {
        let bus = bus();
        bus.write_port(0x600, &[5 << 2 | 1 << 5]);
        assert_eq!(bus.ending.get(), Some(LinuxEnd::PoweredOff));
    }

    #[test]
    fn where_nothing_is_ones_are_read() {
        let bus = bus();
        let mut data = [0; 4];
        bus.read_port(0x80, &mut data);
        assert_eq!(data, [0xff; 4]);
        data = [0; 4];
        bus.read_memory(0xc000_0000, &mut data);
        assert_eq!(data, [0xff; 4]);
    }

    proptest! {
        #[test]
        fn any_access_is_survived(port in any::<u16>(), address in any::<u64>(), data in proptest::collection::vec(any::<u8>(), 0..9)) {
            let bus = bus();
            let mut read = data.clone();
            bus.write_port(port, &data);
            bus.read_port(port, &mut read);
            bus.write_memory(address, &data);
            bus.read_memory(address, &mut read);
        }
    }
}
