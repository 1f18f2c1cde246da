//! Every fixed guest-physical and guest-virtual address, in one place.
//!
//! ```text
//! guest-physical                                       guest-virtual
//! 0x0000_1000  PVH start info, module and memory list  [0x1_0000, USER_END)      the program
//! 0x0000_2000  boot info                                DIRECT_MAP + gpa          all guest memory
//! 0x0010_0000  clock page (also mapped by the vDSO)     IMAGE_OFFSET + gpa        the LWK's image
//! 0x0010_1000  status page: state, crash report
//! 0x0010_2000  channels, one page each
//! 0x0014_2000  map log
//! 0x0014_b000  call statistics
//! 0x0020_0000  the LWK's image, then its heap
//! 0x0040_0000  program block (arguments), later free
//!              free memory, up to the partition's size
//! ```

/// Bytes in a base page.
pub const PAGE: u64 = 4 << 10;
/// Bytes in a large page (one page-directory entry).
pub const LARGE_PAGE: u64 = 2 << 20;
/// Bytes in a huge page (one page-directory-pointer entry).
pub const HUGE_PAGE: u64 = 1 << 30;

/// PVH `hvm_start_info`, its module list and memory map.
pub const PVH_INFO: u64 = 0x1000;
/// [`crate::boot::BootInfo`], named to the LWK as the first PVH module.
pub const BOOT_INFO: u64 = 0x2000;
/// Start of the memory that VMM, proxy and LWK all map: clock, status, channels, map log, statistics.
pub const SHARED: u64 = 0x10_0000;
/// Bytes of the shared memory.
pub const SHARED_BYTES: u64 = IMAGE - SHARED;
/// [`crate::time::TimePage`].
pub const TIME_PAGE: u64 = SHARED;
/// [`crate::status::StatusPage`].
pub const STATUS_PAGE: u64 = TIME_PAGE + PAGE;
/// First [`crate::channel::ChannelPage`].
pub const CHANNELS: u64 = STATUS_PAGE + PAGE;
/// How many channels an LWK has: the most threads it can run.
pub const CHANNEL_COUNT: u64 = 64;
/// [`crate::maplog::MapLog`].
pub const MAP_LOG: u64 = CHANNELS + CHANNEL_COUNT * PAGE;
/// Bytes of the map log.
pub const MAP_LOG_BYTES: u64 = 9 * PAGE;
/// [`crate::stats::CallStats`].
pub const CALL_STATS: u64 = MAP_LOG + MAP_LOG_BYTES;
/// Bytes kept for the call statistics.
pub const CALL_STATS_BYTES: u64 = IMAGE - CALL_STATS;
/// Where the LWK's image is loaded.
pub const IMAGE: u64 = 0x20_0000;
/// The most an image may take with its heap; the rest of this large page is the LWK's heap.
pub const IMAGE_BYTES: u64 = LARGE_PAGE;
/// A 64-bit counter that the wake-up interrupt's handler steps, so that the VMM can tell a core that takes interrupts from one
/// that does not. In the boot CPU's area, behind the page of trap stubs.
pub const PULSE: u64 = IMAGE + PAGE + 32;
/// The program block: argument and environment strings. See [`crate::boot::BootInfo::args_bytes`].
pub const ARGS: u64 = IMAGE + IMAGE_BYTES;
/// What the LWK needs for each string of the program block while it makes the stack, besides copies of the string itself: two
/// slices, two pointers, and as much again while its vectors grow.
pub const ARGS_OVERHEAD: u64 = 96;

/// First address that a program may map: Linux's default `vm.mmap_min_addr`.
pub const USER_START: u64 = 0x1_0000;
/// End of a program's addresses. Above it lie the proxy's own code, heap and stacks, so that the proxy can map the
/// program's memory at the same addresses (McKernel's unified address space).
pub const USER_END: u64 = 0x5000_0000_0000;
/// Where the LWK maps all guest memory, linearly. The 512 GiB at `0xffff_8000_0000_0000` are avoided: a
/// pagetable-based host KVM may keep them.
pub const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
/// Virtual minus physical address of the LWK's image.
pub const IMAGE_OFFSET: u64 = 0xffff_ffff_8000_0000;

const _: () = {
    use core::mem::size_of;
    assert!(PVH_INFO + PAGE <= BOOT_INFO);
    assert!(BOOT_INFO + size_of::<crate::boot::BootInfo>() as u64 <= SHARED);
    assert!(size_of::<crate::time::TimePage>() as u64 <= PAGE);
    assert!(size_of::<crate::status::StatusPage>() as u64 <= PAGE);
    assert!(size_of::<crate::channel::ChannelPage>() as u64 == PAGE);
    assert!(size_of::<crate::maplog::MapLog>() as u64 <= MAP_LOG_BYTES);
    assert!(size_of::<crate::stats::CallStats>() as u64 <= CALL_STATS_BYTES);
    assert!(CALL_STATS < IMAGE && SHARED_BYTES.is_multiple_of(PAGE));
    assert!(ARGS.is_multiple_of(LARGE_PAGE) && USER_END.is_multiple_of(HUGE_PAGE));
};
