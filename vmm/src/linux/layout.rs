//! Guest-physical addresses of a Linux guest.
//!
//! ```text
//!          0  RAM, with what the VMM leaves for the boot (below 1 MiB: the PC's legacy area)
//!      3 GiB  end of low RAM, and the window of PCI devices
//!  3.5 GiB..  (nothing), I/O APIC, local APICs, KVM's own pages
//!      4 GiB  the rest of the RAM
//!        ...  shared regions, each at a multiple of 1 GiB
//! ```

use crate::units::Bytes;

/// One GiB.
const GIB: u64 = 1 << 30;

/// The Global Descriptor Table of the boot vCPU.
pub const GDT: u64 = 0x500;
/// PVH start information, with its memory map and modules.
pub const PVH_INFO: u64 = 0x6000;
/// The zero page (`struct boot_params`).
pub const ZERO_PAGE: u64 = 0x7000;
/// Page tables that map the first 4 GiB: a page map level 4, a directory pointer table, four directories.
pub const PAGE_TABLES: u64 = 0x9000;
/// The command line.
pub const COMMAND_LINE: u64 = 0x2_0000;
/// Where a PC keeps BIOS data: the end of conventional memory.
pub const CONVENTIONAL_END: u64 = 0x9_fc00;
/// ACPI tables: in the area that a PC's BIOS has, where kernels look for the root pointer that nobody gives them.
pub const ACPI: u64 = 0xe_0000;
/// End of that area; from here on it is RAM.
pub const HIGH_MEMORY: u64 = 0x10_0000;
/// Most that is below 4 GiB.
pub const LOW_RAM_LIMIT: u64 = 3 * GIB;
/// The window of PCI devices' memory (32 bits).
pub const PCI_WINDOW: u64 = 3 * GIB;
/// Bytes of the window.
pub const PCI_WINDOW_BYTES: u64 = GIB / 2;
/// The I/O APIC that KVM emulates.
pub const IO_APIC: u32 = 0xfec0_0000;
/// The local APICs.
pub const LOCAL_APIC: u32 = 0xfee0_0000;
/// Where KVM keeps Intel's real-mode state: one page of page tables, three pages of task state.
pub const IDENTITY_MAP: u64 = 0xfffb_c000;
/// See [`IDENTITY_MAP`].
pub const TASK_STATE: usize = 0xfffb_d000;
/// First address of high RAM.
pub const HIGH_RAM: u64 = 4 * GIB;
/// Bits of a guest-physical address that are used at most: more than any node's memory needs.
pub const ADDRESS_BITS: u32 = 40;
/// The least RAM that a stock kernel decompresses itself in.
pub const LEAST_RAM: Bytes = Bytes::mib(64);

/// Most shared regions.
pub const MAX_SHARED: usize = 64;

/// Which memory is where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    low: u64,
    high: u64,
    shared: Vec<(u64, u64)>,
}

/// Why a guest's memory cannot be laid out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LayoutError {
    /// Too little RAM for a kernel.
    #[error("{0} of memory are too little for a Linux guest; give it {LEAST_RAM} or more")]
    TooSmall(Bytes),
    /// Not a multiple of the large page.
    #[error("a Linux guest's memory of {0} is not a multiple of 2 MiB")]
    NotLargePages(Bytes),
    /// More shared regions than the tables of the boot protocols have room for.
    #[error("a Linux guest shares the memory of at most {MAX_SHARED} LWKs, not of {0}")]
    TooManyShared(usize),
    /// Too much altogether.
    #[error(
        "the guest's memory and the LWKs' that it serves end above {bits} bits of physical address, \
         all that its processor has; give them less memory"
    )]
    TooLarge {
        /// Bits of a physical address.
        bits: u32,
    },
}

impl Layout {
    /// Lays out `ram` bytes of RAM and shared regions of the given sizes for a processor of `address_bits` physical bits.
    ///
    /// # Errors
    /// [`LayoutError`] where it does not fit.
    pub fn new(ram: Bytes, shared: &[u64], address_bits: u32) -> Result<Layout, LayoutError> {
        if ram < LEAST_RAM {
            return Err(LayoutError::TooSmall(ram));
        }
        if !ram.0.is_multiple_of(margay_abi::layout::LARGE_PAGE) {
            return Err(LayoutError::NotLargePages(ram));
        }
        if shared.len() > MAX_SHARED {
            return Err(LayoutError::TooManyShared(shared.len()));
        }
        let bits = address_bits.min(ADDRESS_BITS);
        let too_large = LayoutError::TooLarge { bits };
        let low = ram.0.min(LOW_RAM_LIMIT);
        let high = ram.0 - low;
        let mut end = HIGH_RAM.checked_add(high).ok_or(too_large.clone())?;
        let mut places = Vec::with_capacity(shared.len());
        for &bytes in shared {
            let start = end.checked_next_multiple_of(GIB).ok_or(too_large.clone())?;
            end = start.checked_add(bytes).ok_or(too_large.clone())?;
            places.push((start, bytes));
        }
        if end > 1 << bits { Err(too_large) } else { Ok(Layout { low, high, shared: places }) }
    }

    /// Pieces of RAM: address and bytes, one or two.
    pub fn ram(&self) -> Vec<(u64, u64)> {
        [(0, self.low), (HIGH_RAM, self.high)].into_iter().filter(|(_, size)| *size > 0).collect()
    }

    /// Where RAM below 4 GiB ends.
    pub fn low_ram_end(&self) -> u64 {
        self.low
    }

    /// Shared regions: address and bytes.
    pub fn shared(&self) -> &[(u64, u64)] {
        &self.shared
    }

    /// The map that the guest is given, in ascending order.
    pub fn memory_map(&self) -> Vec<MapEntry> {
        let entry = |start, end, kind| MapEntry { start, bytes: end - start, kind };
        let mut map = vec![
            entry(0, CONVENTIONAL_END, MapKind::Ram),
            entry(CONVENTIONAL_END, HIGH_MEMORY, MapKind::Reserved),
            entry(HIGH_MEMORY, self.low, MapKind::Ram),
        ];
        if self.high > 0 {
            map.push(entry(HIGH_RAM, HIGH_RAM + self.high, MapKind::Ram));
        }
        let shared = |&(start, bytes)| MapEntry { start, bytes, kind: MapKind::SoftReserved };
        map.extend(self.shared.iter().map(shared));
        map
    }
}

/// An entry of the memory map (ACPI 6.5, 15: address range types; `arch/x86/include/asm/e820/types.h`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapEntry {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub bytes: u64,
    /// What is there.
    pub kind: MapKind,
}

/// What is at an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum MapKind {
    /// RAM.
    Ram = 1,
    /// Nothing to allocate.
    Reserved = 2,
    /// Memory that Linux leaves alone and hands to a driver: `E820_TYPE_SOFT_RESERVED`, what UEFI calls specific-purpose
    /// memory (UEFI 2.8, 7.2). `dax_hmem` makes a character device of it.
    SoftReserved = 0xefff_ffff,
}

#[cfg(test)]
mod tests {
    use super::{Layout, LayoutError, MapKind};
    use crate::units::Bytes;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    #[test]
    fn ram_leaves_the_hole_free() {
        let small = Layout::new(Bytes::mib(512), &[], 40).unwrap();
        assert_eq!(small.ram(), [(0, 512 << 20)]);
        let large = Layout::new(Bytes::gib(5), &[], 40).unwrap();
        assert_eq!(large.ram(), [(0, 3 << 30), (4 << 30, 2 << 30)]);
    }

    #[test]
    fn shared_regions_are_soft_reserved_behind_the_ram() {
        let layout = Layout::new(Bytes::gib(4), &[256 << 20, 3 << 29], 40).unwrap();
        assert_eq!(layout.shared(), [(5 << 30, 256 << 20), (6 << 30, 3 << 29)]);
        let map = layout.memory_map();
        assert_eq!(map.last().unwrap().kind, MapKind::SoftReserved);
        assert_eq!(MapKind::SoftReserved as u32, 0xefff_ffff);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let new = |mib, shared: &[u64], bits| Layout::new(Bytes::mib(mib), shared, bits);
        assert_eq!(new(32, &[], 40), Err(LayoutError::TooSmall(Bytes::mib(32))));
        assert_eq!(new(65, &[], 40), Err(LayoutError::NotLargePages(Bytes::mib(65))));
        assert_eq!(new(64, &[1 << 40], 48), Err(LayoutError::TooLarge { bits: 40 }));
        assert_eq!(new(64, &[1 << 35], 36), Ok(new(64, &[1 << 35], 40).unwrap()));
        assert_eq!(new(64, &[1 << 35, 1 << 35], 36), Err(LayoutError::TooLarge { bits: 36 }));
        assert_eq!(new(64, &[4096; 65], 40), Err(LayoutError::TooManyShared(65)));
        assert_eq!(new(64, &[u64::MAX], 40), Err(LayoutError::TooLarge { bits: 40 }));
    }

    proptest! {
        #[test]
        fn the_map_is_sorted_and_disjoint(mib in 32_u64..200_000, sizes in proptest::collection::vec(any::<u32>(), 0..9)) {
            let sizes: Vec<u64> = sizes.into_iter().map(u64::from).collect();
            if let Ok(layout) = Layout::new(Bytes::mib(mib * 2), &sizes, 40) {
                let map = layout.memory_map();
                for pair in map.windows(2) {
                    prop_assert!(pair[0].start + pair[0].bytes <= pair[1].start);
                }
                let ram: u64 = layout.ram().iter().map(|(_, bytes)| bytes).sum();
                prop_assert_eq!(ram, mib << 21);
                prop_assert!(layout.shared().iter().all(|(start, _)| start % (1 << 30) == 0));
            }
        }
    }
}
