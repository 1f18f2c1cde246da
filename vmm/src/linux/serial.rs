//! COM1, the guest's console: a 16550A whose output goes to the [`Console`].

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use vm_superio::{Serial, Trigger};
use vmm_sys_util::eventfd::EventFd;

use super::console::{Console, ConsoleWriter};

/// First I/O port.
pub const PORT: u16 = 0x3f8;
/// Number of ports.
pub const PORTS: u16 = 8;
/// Global system interrupt, a PC's.
pub const GSI: u32 = 4;

/// The serial port. Nobody types into it: a guest's console is for reading what went wrong.
pub(super) struct SerialPort(Mutex<Serial<Interrupt, vm_superio::serial::NoEvents, ConsoleWriter>>);

impl SerialPort {
    /// A port that writes to `console` and interrupts by `interrupt`, which KVM turns into [`GSI`].
    pub(super) fn new(console: Arc<Console>, interrupt: EventFd) -> SerialPort {
        SerialPort(Mutex::new(Serial::new(Interrupt(interrupt), ConsoleWriter(console))))
    }

    /// Reads register `offset`, less than [`PORTS`].
    pub(super) fn read(&self, offset: u8) -> u8 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(offset)
    }

    /// Writes register `offset`.
    pub(super) fn write(&self, offset: u8, value: u8) {
        // The console takes everything, and an eventfd's counter does not overflow.
        let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write(offset, value);
    }
}

struct Interrupt(EventFd);

impl Trigger for Interrupt {
    type E = io::Error;

    fn trigger(&self) -> io::Result<()> {
        self.0.write(1)
    }
}

#[cfg(test)]
mod tests {
    use super::SerialPort;
    use crate::linux::console::Console;
    use std::sync::Arc;
    use vmm_sys_util::eventfd::EventFd;

    #[test]
    fn what_is_transmitted_is_on_the_console() {
        let console = Arc::new(Console::default());
        let port = SerialPort::new(Arc::clone(&console), EventFd::new(0).unwrap());
        for byte in *b"hello\n" {
            port.write(0, byte);
        }
        assert_eq!(console.tail(1), "hello");
        const TRANSMITTER_EMPTY: u8 = 1 << 5;
        assert_ne!(port.read(5) & TRANSMITTER_EMPTY, 0);
    }
}
