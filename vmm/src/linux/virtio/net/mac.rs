//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The address of one interface (IEEE 802): never a group's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacAddress(pub(super) [u8; 6]);

/// What is no address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "\"{0}\" is not the address of a network interface: give six bytes like 02:00:00:00:00:01, the first of them even"
)]
pub struct MacError(String);

impl FromStr for MacAddress {
    type Err = MacError;

    /// Six bytes in hexadecimal, with colons between.
    fn from_str(text: &str) -> Result<MacAddress, MacError> {
        let error = || MacError(text.into());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts
                .next()
                .filter(|part| part.len() == 2 && !part.starts_with('+'))
                .ok_or_else(error)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        let whole = parts.next().is_none();
        let group = bytes[0] & 1 != 0;
        if !whole || group || bytes == [0; 6] { Err(error()) } else { Ok(MacAddress(bytes)) }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, last] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{last:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_interfaces_are_read_and_written() {
        let address: MacAddress = "02:00:5E:10:00:fF".parse().unwrap();
        assert_eq!(address.0, [2, 0, 0x5e, 0x10, 0, 0xff]);
        assert_eq!(address.to_string(), "02:00:5e:10:00:ff");
    }

    #[test]
    fn others_are_refused() {
        let not = [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "2:00:00:00:00:01",
            "02:00:00:00:00:+1",
            "02-00-00-00-00-01",
        ];
        let group = ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"];
        for text in not.into_iter().chain(group) {
            assert_eq!(text.parse::<MacAddress>(), Err(MacError(text.into())));
        }
    }
}
