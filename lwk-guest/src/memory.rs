//! The machine's memory, as the LWK has it: its own mappings, frames for the program, page tables, the heap.
//!
//! The LWK maps all guest memory linearly at `DIRECT_MAP` and its image at `IMAGE_OFFSET`, text read-only and data not executable.
//! In fused mode both are accessible at CPL 3, where the LWK runs; the program could reach them too, which is what fused means.
//!
//! Page tables have 2 MiB pieces of memory to themselves: a KVM that shadows them must watch each table's page, and
//! splits the large page around it.

use alloc::vec::Vec;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;

use linked_list_allocator::Heap;
use lwk_core::frames::{Frames, Use};
use lwk_core::paging::{Extent, PageFlags, PageSize, PageTable, TableMemory};
use lwk_core::space::{AddressSpace, Machine, MapChange};
use margay_abi::boot::{BootInfo, Isolation};
use margay_abi::layout::{self, LARGE_PAGE, PAGE};

use crate::arch::privilege::Privilege;
use crate::arch::{cpu, segments};
use crate::kernel::{OneCore, kernel};

/// Below this `mmap` places memory: the rest is for the stack and the vDSO.
pub const MMAP_TOP: u64 = layout::USER_END - layout::HUGE_PAGE;

/// The heap is this fraction of a large partition, and the rest of the image's large page in a small one: 0.05 %.
const HEAP_FRACTION: u64 = 2048;

unsafe extern "C" {
    static image_text: u8;
    static image_rodata: u8;
    static image_data: u8;
    static image_end: u8;
}

/// Virtual address of guest-physical `gpa`.
const fn direct(gpa: u64) -> u64 {
    layout::DIRECT_MAP + gpa
}

/// Types that VMM, proxy and LWK share: atomics throughout.
///
/// # Safety
/// The implementor is such a type.
pub unsafe trait Shared {}
// SAFETY: atomics, and padding that nobody reads.
unsafe impl Shared for margay_abi::channel::ChannelPage {}
// SAFETY: as above.
unsafe impl Shared for margay_abi::maplog::MapLog {}
// SAFETY: as above.
unsafe impl Shared for margay_abi::stats::CallStats {}
// SAFETY: as above.
unsafe impl Shared for margay_abi::status::StatusPage {}
// SAFETY: as above.
unsafe impl Shared for margay_abi::time::TimePage {}

/// A structure of the shared region, at the address that the layout gives it.
pub fn shared<T: Shared>(gpa: u64) -> &'static T {
    debug_assert!((layout::SHARED..layout::IMAGE).contains(&gpa));
    // SAFETY: the layout gives each structure its place in the shared region (it asserts that they fit), which is zero at boot and
    // used for nothing else; the type is made of atomics, so that writes of others are no data race.
    unsafe { &*(direct(gpa) as *const T) }
}

/// The LWK's heap.
struct KernelHeap(OneCore<Heap>);

#[global_allocator]
static HEAP: KernelHeap = KernelHeap(OneCore::new(Heap::empty()));

// SAFETY: the linked-list heap gives out disjoint memory of the layout asked for.
unsafe impl GlobalAlloc for KernelHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.get().allocate_first_fit(layout).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if let Some(pointer) = NonNull::new(pointer) {
            // SAFETY: the caller got the pointer from `alloc` with this layout.
            unsafe { self.0.get().deallocate(pointer, layout) };
        }
    }
}

/// The memory that page tables and the program's frames come from.
pub struct Guest {
    frames: Frames,
    privilege: Privilege,
    root: u64,
    /// Tables that are free.
    tables: Vec<u64>,
    /// Bytes that the LWK keeps for itself.
    kept_bytes: u64,
}

impl Guest {
    /// Bytes that the LWK keeps for itself: image, heap, tables, shared pages.
    pub fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Gives the memory of the program block to the program.
    pub fn release_args(&mut self, boot: &BootInfo) {
        let bytes = boot.args_bytes.next_multiple_of(LARGE_PAGE);
        self.frames.free(layout::ARGS, bytes, Use::Dirty);
        self.kept_bytes -= bytes;
    }

    /// Writes to the program's memory, whatever its protection is. Within one page.
    pub fn write_physical(&mut self, gpa: u64, bytes: &[u8]) {
        debug_assert!(gpa % PAGE + bytes.len() as u64 <= PAGE);
        // SAFETY: frames of the program, which is stopped in this call; nobody holds a reference to its memory.
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), direct(gpa) as *mut u8, bytes.len())
        };
    }
}

impl TableMemory for Guest {
    fn read(&self, entry_gpa: u64) -> u64 {
        // SAFETY: an entry of one of our tables, which only this code and the processor access.
        unsafe { (direct(entry_gpa) as *const u64).read_volatile() }
    }

    fn write(&mut self, entry_gpa: u64, value: u64) {
        // SAFETY: as in `read`. What the entry maps is `lwk_core`'s business, which never maps the LWK's own memory for the program.
        unsafe { (direct(entry_gpa) as *mut u64).write_volatile(value) };
    }

    fn alloc_table(&mut self) -> Option<u64> {
        if self.tables.is_empty() {
            let chunk = self.frames.alloc_chunk()?;
            self.tables.try_reserve((LARGE_PAGE / PAGE) as usize).ok()?;
            let pages = LARGE_PAGE / PAGE;
            self.tables.extend((0..pages).rev().map(|page| chunk + page * PAGE));
            self.kept_bytes += LARGE_PAGE;
        }
        let table = self.tables.pop()?;
        self.zero(table, PAGE);
        Some(table)
    }

    fn free_table(&mut self, gpa: u64) {
        // No allocation: the vector once had room for this table.
        self.tables.push(gpa);
    }
}

impl Machine for Guest {
    fn frames(&mut self) -> &mut Frames {
        &mut self.frames
    }

    fn zero(&mut self, gpa: u64, bytes: u64) {
        // SAFETY: memory that is a table not in use, or the program's, which is stopped in this call.
        unsafe { cpu::zero(direct(gpa), bytes) };
    }

    fn flush(&mut self) {
        // SAFETY: the same table as before, in which the LWK's own mappings never change.
        unsafe { self.privilege.load_page_table(self.root) };
    }

    fn log(&mut self, change: MapChange) {
        kernel().proxy.get().tell(change);
    }
}

/// Sets up heap, frames and the final page table, and changes to it.
pub fn init(boot: &BootInfo, privilege: Privilege) -> AddressSpace<Guest> {
    let args_end = (layout::ARGS + boot.args_bytes).next_multiple_of(LARGE_PAGE);
    let heap = heap_range(boot, args_end);
    // SAFETY: the range is the LWK's own, unused so far, mapped by the boot tables and later by the final one.
    unsafe { HEAP.0.get().init(direct(heap.start) as *mut u8, (heap.end - heap.start) as usize) };

    let free = args_end.max(heap.end);
    assert!(free + LARGE_PAGE <= boot.memory_bytes, "the partition is too small for the LWK");
    let mut frames = Frames::new(boot.memory_bytes);
    let left = if boot.memory_dirty == 0 { Use::Clean } else { Use::Dirty };
    frames.free(free, boot.memory_bytes - free, left);
    let mut guest = Guest { frames, privilege, root: 0, tables: Vec::new(), kept_bytes: free };
    let root = guest.alloc_table().expect("a fresh partition has room for page tables");
    guest.root = root;

    let mut table = PageTable::new(root, largest_page(boot));
    for extent in own_mappings(boot, privilege.0) {
        table.map(&mut guest, extent).expect("a fresh partition has room for page tables");
    }
    guest.flush();
    AddressSpace::new(guest, table, MMAP_TOP)
}

/// Where the heap is: behind the image, or behind the program block when that is too small.
fn heap_range(boot: &BootInfo, args_end: u64) -> core::ops::Range<u64> {
    /// The program block is turned into slices and then into the stack's image.
    const COPIES_OF_ARGS: u64 = 4;
    let image = &raw const image_end as u64 - layout::IMAGE_OFFSET;
    let behind_image = image..layout::IMAGE + layout::IMAGE_BYTES;
    let strings = u64::from(boot.argc) + u64::from(boot.envc);
    let wanted = boot.memory_bytes / HEAP_FRACTION
        + boot.args_bytes * COPIES_OF_ARGS
        + strings * layout::ARGS_OVERHEAD;
    if behind_image.end - behind_image.start >= wanted {
        behind_image
    } else {
        args_end..args_end + wanted.next_multiple_of(LARGE_PAGE)
    }
}

/// The program block, until [`Guest::release_args`].
pub fn program_block(boot: &BootInfo) -> &'static [u8] {
    // SAFETY: the VMM wrote `args_bytes` bytes there, in memory that `init` keeps from everybody else.
    unsafe {
        core::slice::from_raw_parts(direct(layout::ARGS) as *const u8, boot.args_bytes as usize)
    }
}

fn largest_page(boot: &BootInfo) -> PageSize {
    const EXTENDED_FEATURES: u32 = 0x8000_0001;
    /// CPUID 8000_0001h, EDX: 1 GiB pages.
    const HUGE_PAGES: u32 = 1 << 26;
    let huge = boot.huge_pages != 0 && cpu::cpuid(EXTENDED_FEATURES).edx & HUGE_PAGES != 0;
    if huge { PageSize::Huge } else { PageSize::Large }
}

/// The LWK's own mappings.
fn own_mappings(boot: &BootInfo, isolation: Isolation) -> impl Iterator<Item = Extent> {
    let base = match isolation {
        Isolation::Protected => PageFlags::PRESENT,
        Isolation::Fused => PageFlags::PRESENT | PageFlags::USER,
    };
    let text = base;
    let rodata = base | PageFlags::NO_EXECUTE;
    let data = rodata | PageFlags::WRITE;
    let image = |start: u64, end: u64, flags| Extent {
        virt: start,
        phys: start - layout::IMAGE_OFFSET,
        bytes: end - start,
        flags,
    };
    let (text_start, rodata_start, data_start) = (
        &raw const image_text as u64,
        &raw const image_rodata as u64,
        &raw const image_data as u64,
    );
    let stubs = layout::IMAGE_OFFSET + layout::IMAGE;
    let guard = segments::STACK_GUARD;
    [
        Extent { virt: layout::DIRECT_MAP, phys: 0, bytes: boot.memory_bytes, flags: data },
        image(stubs, segments::CPU_AREA, text),
        image(segments::CPU_AREA, guard, data),
        image(guard + PAGE, text_start, data),
        image(text_start, rodata_start, text),
        image(rodata_start, data_start, rodata),
        image(data_start, layout::IMAGE_OFFSET + layout::IMAGE + layout::IMAGE_BYTES, data),
    ]
    .into_iter()
}
