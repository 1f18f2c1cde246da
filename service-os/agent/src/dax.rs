//! The memory of LWKs, as this Linux shows it: one device DAX for each.
//!
//! The VMM lists the memory of an LWK as soft-reserved, for which the driver `dax_hmem` makes a device; see `docs/node.md`, "Who
//! shares what memory with whom". As it comes, such a device can be mapped only in pieces of 2 MiB. A proxy must map 4 KiB at a
//! time, which the device permits once its alignment says so (Linux, `Documentation/ABI/testing/sysfs-bus-dax`);
//! and that can be changed only while no driver holds it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::console::say;

const DEVICES: &str = "/sys/bus/dax/devices";
const DRIVERS: &str = "/sys/bus/dax/drivers";
/// The driver that makes a device file; the other, `kmem`, would make the memory Linux's own.
const DRIVER: &str = "device_dax";
/// What the proxy maps at a time.
const PAGE: &str = "4096";

/// Why there is no memory for a proxy.
#[derive(Debug, Error)]
pub enum DaxError {
    /// No device starts there.
    #[error("this Linux shows no memory device at {0:#x}")]
    None(u64),
    /// The node believes it to be longer.
    #[error("the memory device at {address:#x} has {found} bytes, not {wanted}")]
    Short {
        /// Its guest-physical address.
        address: u64,
        /// Its length.
        found: u64,
        /// What the LWK has.
        wanted: u64,
    },
    /// It cannot be opened.
    #[error("cannot open {}: {source}", path.display())]
    Open {
        /// The device file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DaxError {
    /// What to do.
    pub fn hint(&self) -> Option<String> {
        matches!(self, DaxError::None(_)).then(|| {
            "the service VM's kernel needs the modules dax_hmem and device_dax (Linux 5.10 or later, \
             CONFIG_DEV_DAX_HMEM and CONFIG_EFI_SOFT_RESERVE)"
                .to_owned()
        })
    }
}

/// Lets every device be mapped by pages. What cannot be prepared is said, and found again when it is wanted.
pub fn prepare_all() {
    // No folder: no such memory.
    let Ok(devices) = fs::read_dir(DEVICES) else { return };
    for device in devices.flatten() {
        let name = device.file_name();
        if let Err(error) = prepare(&device.path(), &name.to_string_lossy()) {
            say(&format!("cannot prepare {}: {error}", name.display()));
        }
    }
}

fn prepare(device: &Path, name: &str) -> io::Result<()> {
    let holder = fs::read_link(device.join("driver")).ok();
    let holder = holder.as_ref().and_then(|driver| driver.file_name()?.to_str());
    if holder == Some(DRIVER) && attribute(device, "align")? == PAGE {
        return Ok(());
    }
    if let Some(holder) = holder {
        fs::write(Path::new(DRIVERS).join(holder).join("unbind"), name)?;
    }
    fs::write(device.join("align"), PAGE)?;
    let driver = Path::new(DRIVERS).join(DRIVER);
    // From Linux 6.3 on the driver takes what would be `kmem`'s only when it is told to.
    fs::write(driver.join("bind"), name).or_else(|_| fs::write(driver.join("new_id"), name))
}

/// Opens the device that shows the `bytes` at `address`, guest-physical.
///
/// # Errors
/// [`DaxError`]
pub fn open(address: u64, bytes: u64) -> Result<File, DaxError> {
    let devices = fs::read_dir(DEVICES).map_err(|_| DaxError::None(address))?;
    let device = devices
        .flatten()
        .find(|device| number(&device.path(), "resource") == Some(address))
        .ok_or(DaxError::None(address))?;
    let found = number(&device.path(), "size").unwrap_or(0);
    if found < bytes {
        return Err(DaxError::Short { address, found, wanted: bytes });
    }
    let path = Path::new("/dev").join(device.file_name());
    let opened = File::options().read(true).write(true).open(&path);
    opened.map_err(|source| DaxError::Open { path, source })
}

fn attribute(device: &Path, name: &str) -> io::Result<String> {
    Ok(fs::read_to_string(device.join(name))?.trim_end().to_owned())
}

/// An attribute that is a number, decimal or with `0x`.
fn number(device: &Path, name: &str) -> Option<u64> {
    let text = attribute(device, name).ok()?;
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn attributes_are_read_as_sysfs_writes_them() {
        let device = tempfile::tempdir().unwrap();
        for (text, want) in [
            ("0x140000000\n", Some(0x1_4000_0000)),
            ("268435456\n", Some(1 << 28)),
            ("", None),
            ("-1\n", None),
        ] {
            std::fs::write(device.path().join("size"), text).unwrap();
            assert_eq!(number(device.path(), "size"), want, "{text:?}");
        }
        assert_eq!(number(device.path(), "resource"), None);
    }
}
