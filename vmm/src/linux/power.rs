//! Power: the registers by which a guest switches itself off or resets itself.
//!
//! Hardware-reduced ACPI (ACPI 6.5, 4.8.3.7 and 4.8.3.6): a sleep control, a sleep status and a reset register. Beside them
//! the keyboard controller's reset line, what kernels pull that have no ACPI.

use super::end::LinuxEnd;

/// First I/O port of the three ACPI registers.
pub const PORT: u16 = 0x600;
/// Sleep control register.
pub const SLEEP_CONTROL: u16 = PORT;
/// Sleep status register.
pub const SLEEP_STATUS: u16 = PORT + 1;
/// Reset register.
pub const RESET: u16 = PORT + 2;
/// What resets when it is written there.
pub const RESET_VALUE: u8 = 1;
/// Sleep type of S5, soft off, as the DSDT says.
pub const SLEEP_TYPE_S5: u8 = 5;

/// `SLP_EN`: enter the state of the `SLP_TYP` field.
const SLEEP_ENABLE: u8 = 1 << 5;
const SLEEP_TYPE_SHIFT: u8 = 2;
const SLEEP_TYPE_MASK: u8 = 0b111;

/// The keyboard controller's command port.
pub const KEYBOARD: u16 = 0x64;
/// Its command "pulse the reset line".
const PULSE_RESET: u8 = 0xfe;

/// What writing `value` to `port` does to the guest.
pub fn written(port: u16, value: u8) -> Option<LinuxEnd> {
    match port {
        SLEEP_CONTROL if value & SLEEP_ENABLE != 0 => {
            let kind = value >> SLEEP_TYPE_SHIFT & SLEEP_TYPE_MASK;
            (kind == SLEEP_TYPE_S5).then_some(LinuxEnd::PoweredOff)
        }
        RESET if value == RESET_VALUE => Some(LinuxEnd::Reset),
        KEYBOARD if value == PULSE_RESET => Some(LinuxEnd::Reset),
        _ => None,
    }
}

/// What reading `port` gives: no register has state.
pub fn read(port: u16) -> u8 {
    match port {
        SLEEP_CONTROL | SLEEP_STATUS | RESET => 0,
        _ => 0xff,
    }
}

#[cfg(test)]
mod tests {
    use super::{KEYBOARD, LinuxEnd, RESET, SLEEP_CONTROL, written};

    #[test]
    fn only_the_documented_values_end_the_guest() {
        assert_eq!(written(SLEEP_CONTROL, 5 << 2 | 1 << 5), Some(LinuxEnd::PoweredOff));
        assert_eq!(written(SLEEP_CONTROL, 5 << 2), None);
        assert_eq!(written(SLEEP_CONTROL, 1 << 5), None);
        assert_eq!(written(RESET, 1), Some(LinuxEnd::Reset));
        assert_eq!(written(RESET, 2), None);
        assert_eq!(written(KEYBOARD, 0xfe), Some(LinuxEnd::Reset));
    }
}
