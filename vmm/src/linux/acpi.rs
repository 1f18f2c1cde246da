//! ACPI tables: what a guest's processors, buses and power switches are (ACPI 6.5, chapter 5).
//!
//! The machine is *hardware-reduced*: no PM timer, no interrupt controllers of the first PCs, no system management. What is
//! left is described here in full.

use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace as GasSpace, GAS};
use acpi_tables::madt::{
    EnabledStatus, IoApic, LocalInterruptController, MADT, ProcessorLocalApic,
};
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, aml};
use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

use super::{layout, pci, power, serial};

const OEM: [u8; 6] = *b"MARGAY";
const OEM_TABLE: [u8; 8] = *b"MARGAYVM";
const OEM_REVISION: u32 = 1;
/// Bytes of a table's header.
const HEADER: u32 = 36;
/// Tables begin at multiples of this.
const ALIGN: u64 = 16;

/// `IAPC_BOOT_ARCH`: no VGA to probe, no real-time clock in CMOS memory (ACPI 6.5, table 5.11).
const NO_VGA_NO_CMOS: u16 = 1 << 2 | 1 << 5;

/// Writes the tables for a guest of `vcpus` processors, whose APIC ids are 0 and up. Returns the address of the root pointer.
///
/// # Errors
/// Where the guest's memory ends before [`layout::HIGH_MEMORY`].
pub fn write(memory: &GuestMemoryMmap, vcpus: u8) -> Result<u64, GuestMemoryError> {
    // The root pointer is first, where it is looked for too; what it points to comes behind it, the pointed-to before the pointer.
    let mut at = (layout::ACPI + Rsdp::len() as u64).next_multiple_of(ALIGN);
    let mut put = |table: &dyn Aml| {
        let mut bytes = Vec::new();
        table.to_aml_bytes(&mut bytes);
        let address = at;
        at = (at + bytes.len() as u64).next_multiple_of(ALIGN);
        memory.write_slice(&bytes, GuestAddress(address)).map(|()| address)
    };
    let dsdt = put(&dsdt())?;
    let mut xsdt = XSDT::new(OEM, OEM_TABLE, OEM_REVISION);
    xsdt.add_entry(put(&fadt(dsdt).finalize())?);
    xsdt.add_entry(put(&madt(vcpus))?);
    let xsdt = put(&xsdt)?;
    let mut root = Vec::new();
    Rsdp::new(OEM, xsdt).to_aml_bytes(&mut root);
    memory.write_slice(&root, GuestAddress(layout::ACPI))?;
    Ok(layout::ACPI)
}

/// Fixed hardware: that there is none but the power registers.
fn fadt(dsdt: u64) -> FADTBuilder {
    let register =
        |port: u16| GAS::new(GasSpace::SystemIo, 8, 0, AccessSize::ByteAccess, u64::from(port));
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, OEM_REVISION)
        .dsdt_64(dsdt)
        .preferred_pm_profile(PmProfile::EnterpriseServer)
        .flag(Flags::Wbinvd)
        .flag(Flags::PwrButton)
        .flag(Flags::SlpButton)
        .flag(Flags::ResetRegSup)
        .flag(Flags::Headless)
        .flag(Flags::HwReducedAcpi);
    fadt.iapc_boot_arch = NO_VGA_NO_CMOS.into();
    fadt.reset_reg = register(power::RESET);
    fadt.reset_value = power::RESET_VALUE;
    fadt.sleep_control_reg = register(power::SLEEP_CONTROL);
    fadt.sleep_status_reg = register(power::SLEEP_STATUS);
    fadt
}

/// Processors and interrupt controllers.
fn madt(vcpus: u8) -> MADT {
    let local = LocalInterruptController::Address(layout::LOCAL_APIC);
    let mut madt = MADT::new(OEM, OEM_TABLE, OEM_REVISION, local);
    for id in 0..vcpus {
        madt.add_structure(ProcessorLocalApic::new(id, id, EnabledStatus::Enabled));
    }
    madt.add_structure(IoApic::new(0, layout::IO_APIC, 0));
    madt
}

/// The devices that cannot be found by looking: PCI's root, the serial port; and what S5 is called.
fn dsdt() -> Sdt {
    let mut code = Vec::new();
    append_pci_root(&mut code);
    append_serial_port(&mut code);
    let s5 = aml::Package::new(vec![&power::SLEEP_TYPE_S5]);
    aml::Name::new("_S5_".into(), &s5).to_aml_bytes(&mut code);
    let mut dsdt = Sdt::new(*b"DSDT", HEADER, 2, OEM, OEM_TABLE, OEM_REVISION);
    dsdt.append_slice(&code);
    dsdt
}

fn append_pci_root(code: &mut Vec<u8>) {
    const LAST_PORT: u16 = 0xffff;
    let window_end = (layout::PCI_WINDOW + layout::PCI_WINDOW_BYTES - 1) as u32;
    let buses = aml::AddressSpace::new_bus_number(0_u16, 0);
    let config = aml::IO::new(pci::CONFIG_ADDRESS, pci::CONFIG_ADDRESS, 1, 8);
    let ports_below = aml::AddressSpace::new_io(0_u16, pci::CONFIG_ADDRESS - 1, None);
    let ports_above = aml::AddressSpace::new_io(pci::CONFIG_DATA + 4, LAST_PORT, None);
    let memory = aml::AddressSpace::new_memory(
        aml::AddressSpaceCacheable::NotCacheable,
        true,
        layout::PCI_WINDOW as u32,
        window_end,
        None,
    );
    let resources =
        aml::ResourceTemplate::new(vec![&buses, &config, &ports_below, &ports_above, &memory]);
    aml::Device::new(
        "_SB_.PCI0".into(),
        vec![
            &aml::Name::new("_HID".into(), &aml::EISAName::new("PNP0A03")),
            &aml::Name::new("_UID".into(), &aml::ZERO),
            &aml::Name::new("_SEG".into(), &aml::ZERO),
            &aml::Name::new("_BBN".into(), &aml::ZERO),
            &aml::Name::new("_CRS".into(), &resources),
        ],
    )
    .to_aml_bytes(code);
}

fn append_serial_port(code: &mut Vec<u8>) {
    let ports = aml::IO::new(serial::PORT, serial::PORT, 1, serial::PORTS as u8);
    let interrupt = aml::Interrupt::new(true, true, false, false, serial::GSI);
    let resources = aml::ResourceTemplate::new(vec![&interrupt, &ports]);
    aml::Device::new(
        "_SB_.COM1".into(),
        vec![
            &aml::Name::new("_HID".into(), &aml::EISAName::new("PNP0501")),
            &aml::Name::new("_UID".into(), &aml::ZERO),
            &aml::Name::new("_CRS".into(), &resources),
        ],
    )
    .to_aml_bytes(code);
}

#[cfg(test)]
mod tests {
    use super::{layout, write};
    use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

    fn read(memory: &GuestMemoryMmap, at: u64, bytes: usize) -> Vec<u8> {
        let mut data = vec![0; bytes];
        memory.read_slice(&mut data, GuestAddress(at)).unwrap();
        data
    }

    /// A table's bytes, by the length in its header; its sum is checked.
    fn table(memory: &GuestMemoryMmap, at: u64) -> Vec<u8> {
        let length: u32 = memory.read_obj(GuestAddress(at + 4)).unwrap();
        let data = read(memory, at, length as usize);
        assert_eq!(data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        data
    }

    fn quad(data: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(data[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn every_table_is_reached_and_sums_to_zero() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
        let root = write(&memory, 3).unwrap();
        let rsdp = read(&memory, root, 36);
        assert_eq!(&rsdp[..8], b"RSD PTR ");
        assert_eq!(rsdp.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)), 0);
        let xsdt = table(&memory, quad(&rsdp, 24));
        let tables: Vec<_> =
            (36..xsdt.len()).step_by(8).map(|at| table(&memory, quad(&xsdt, at))).collect();
        let names: Vec<_> = tables.iter().map(|table| &table[..4]).collect();
        assert_eq!(names, [b"FACP", b"APIC"]);
        let dsdt = table(&memory, quad(&tables[0], 140));
        assert_eq!(&dsdt[..4], b"DSDT");
        let processors = &tables[1][44..44 + 3 * 8];
        assert!(processors.chunks(8).enumerate().all(|(id, cpu)| cpu[3] == id as u8));
        assert_eq!(tables[1][44 + 3 * 8], 1, "then the I/O APIC");
    }

    #[test]
    fn tables_for_the_most_processors_fit() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
        write(&memory, 254).unwrap();
        let behind = read(&memory, layout::HIGH_MEMORY, 4096);
        assert!(behind.iter().all(|byte| *byte == 0));
    }
}
