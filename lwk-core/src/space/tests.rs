//! Single calls with known results, and the machine they run on; random sequences of calls are in [`random`].

use std::collections::BTreeMap;
use std::vec::Vec;

use margay_abi::Errno;
use margay_abi::layout::{HUGE_PAGE, LARGE_PAGE, PAGE, USER_END};

use super::{AddressSpace, Kind, Machine, MapChange, MapFlags, Prot, proxy_prot};
use crate::frames::{Frames, Use};
use crate::paging::tests::{Model, ROOT, Tables, extents};
use crate::paging::{Extent, PageFlags, PageSize, PageTable, TableMemory};

mod random;

const MIB: u64 = 1 << 20;
const TOP: u64 = 64 * MIB + 256 * MIB;
const HEAP: u64 = 256 * MIB;

const PRIVATE: u64 = MapFlags::PRIVATE.union(MapFlags::ANONYMOUS).bits();
const SHARED: u64 = MapFlags::SHARED.union(MapFlags::ANONYMOUS).bits();
const FIXED: u64 = MapFlags::FIXED.bits();
const NOREPLACE: u64 = MapFlags::FIXED_NOREPLACE.bits();
const NONE: u64 = 0;
const R: u64 = 1;
const RW: u64 = 3;
const MAYMOVE: u64 = 1;
const MOVE_TO: u64 = 3;
const DONTNEED: u64 = 4;

/// A machine with page tables outside its memory, one word of content for each frame, and a proxy's mirror.
struct Fake {
    tables: Tables,
    frames: Frames,
    /// By frame, what was written to it; frames without an entry are zero.
    words: BTreeMap<u64, u64>,
    /// What the proxy has mapped: protections as page flags.
    mirror: Model,
    flushes: u32,
}

impl TableMemory for Fake {
    fn read(&self, entry_gpa: u64) -> u64 {
        self.tables.read(entry_gpa)
    }
    fn write(&mut self, entry_gpa: u64, value: u64) {
        self.tables.write(entry_gpa, value);
    }
    fn alloc_table(&mut self) -> Option<u64> {
        self.tables.alloc_table()
    }
    fn free_table(&mut self, gpa: u64) {
        self.tables.free_table(gpa);
    }
}

impl Machine for Fake {
    fn frames(&mut self) -> &mut Frames {
        &mut self.frames
    }
    fn zero(&mut self, gpa: u64, bytes: u64) {
        assert!(gpa.is_multiple_of(PAGE) && bytes.is_multiple_of(PAGE) && bytes != 0);
        self.words.retain(|at, _| !(gpa..gpa + bytes).contains(at));
    }
    fn flush(&mut self) {
        self.flushes += 1;
    }
    fn log(&mut self, change: MapChange) {
        match change {
            MapChange::Map { addr, bytes, gpa, prot } => {
                self.mirror.set(Extent { virt: addr, phys: gpa, bytes, flags: mirrored(prot) });
            }
            MapChange::Unmap { addr, bytes } => drop(self.mirror.cut(&(addr..addr + bytes))),
            MapChange::Protect { addr, bytes, prot } => {
                let shown = self.mirror.cut(&(addr..addr + bytes));
                assert_eq!(
                    shown.iter().map(|e| e.bytes).sum::<u64>(),
                    bytes,
                    "{change:x?}: a hole"
                );
                shown.iter().for_each(|&e| self.mirror.set(Extent { flags: mirrored(prot), ..e }));
            }
        }
    }
}

fn mirrored(prot: Prot) -> PageFlags {
    PageFlags::from_bits_retain(prot.bits().into())
}

type Space = AddressSpace<Fake>;

/// An address space on a machine whose memory from 2 MiB to `memory` is free.
fn space(memory: u64) -> Space {
    let mut frames = Frames::new(memory);
    frames.free(2 * MIB, memory - 2 * MIB, Use::Clean);
    let tables = Tables::new();
    let (words, mirror) = (BTreeMap::new(), Model::default());
    let fake = Fake { tables, frames, words, mirror, flushes: 0 };
    let mut space = AddressSpace::new(fake, PageTable::new(ROOT, PageSize::Huge), TOP);
    space.start_heap(HEAP);
    space
}

impl Space {
    /// The live page-table entries that `call` writes.
    fn live_writes(&mut self, call: impl FnOnce(&mut Space)) -> usize {
        self.machine.tables.begin();
        call(self);
        self.machine.tables.written.len()
    }

    fn poke(&mut self, addr: u64, word: u64) {
        let (gpa, _) = self.translate(addr).unwrap();
        self.machine.words.insert(gpa & !(PAGE - 1), word);
    }

    fn peek(&self, addr: u64) -> u64 {
        let (gpa, _) = self.translate(addr).unwrap();
        self.machine.words.get(&(gpa & !(PAGE - 1))).copied().unwrap_or(0)
    }

    fn pages(&self) -> Vec<Extent> {
        extents(&self.table, &self.machine, 0..USER_END)
    }

    /// What must hold between any two calls.
    fn check(&mut self) {
        let pages = self.pages();
        let mapped: u64 = pages.iter().map(|e| e.bytes).sum();
        let borrowed: u64 =
            pages.iter().filter(|e| e.flags.contains(PageFlags::BORROWED)).map(|e| e.bytes).sum();
        assert_eq!(self.used_bytes, mapped - borrowed);
        assert!(self.peak_bytes >= self.used_bytes);

        let mut frames: Vec<_> = pages.iter().map(|e| (e.phys, e.phys + e.bytes)).collect();
        frames.sort_unstable();
        assert!(frames.windows(2).all(|w| w[0].1 <= w[1].0), "a frame is mapped twice");

        let mut shown = Model::default();
        for e in &pages {
            shown.set(Extent { flags: mirrored(proxy_prot(e.flags)), ..*e });
        }
        assert_eq!(self.machine.mirror.extents(), shown.extents(), "the proxy sees something else");

        let areas: Vec<_> = self.areas().copied().collect();
        assert!(areas.windows(2).all(|w| w[0].end <= w[1].start && !w[0].continues_in(&w[1])));
    }
}

#[test]
fn a_large_mapping_takes_one_live_write_each_way() {
    let mut space = space(64 * MIB);
    space.mmap(0, PAGE, RW, PRIVATE).unwrap();
    let mut at = 0;
    assert_eq!(space.live_writes(|s| at = s.mmap(0, LARGE_PAGE, RW, PRIVATE).unwrap()), 1);
    assert!(at.is_multiple_of(LARGE_PAGE) && at < TOP);
    assert_eq!(space.live_writes(|s| s.munmap(at, LARGE_PAGE).unwrap()), 1);
    let small = LARGE_PAGE - PAGE;
    assert_eq!(space.live_writes(|s| at = s.mmap(0, small, RW, PRIVATE).unwrap()), 1);
    assert_eq!(space.live_writes(|s| s.munmap(at, small).unwrap()), 1);
    space.check();
}

#[test]
fn mmap_refuses_as_linux_does() {
    let mut space = space(64 * MIB);
    let at = space.mmap(0, 4 * PAGE, RW, PRIVATE).unwrap();
    let mut mmap = |addr, bytes, flags| space.mmap(addr, bytes, RW, flags);
    assert_eq!(mmap(0, 0, PRIVATE), Err(Errno::EINVAL));
    assert_eq!(mmap(0, u64::MAX, PRIVATE), Err(Errno::ENOMEM));
    assert_eq!(mmap(0, PAGE, MapFlags::ANONYMOUS.bits()), Err(Errno::EINVAL));
    assert_eq!(mmap(0, PAGE, SHARED | PRIVATE), Err(Errno::EINVAL));
    assert_eq!(mmap(0, PAGE, SHARED | MapFlags::GROWSDOWN.bits()), Err(Errno::EINVAL));
    assert_eq!(mmap(0x10_0001, PAGE, PRIVATE | FIXED), Err(Errno::EINVAL));
    assert_eq!(mmap(0x1000, PAGE, PRIVATE | FIXED), Err(Errno::EPERM));
    assert_eq!(mmap(USER_END, PAGE, PRIVATE | FIXED), Err(Errno::ENOMEM));
    assert_eq!(mmap(at - PAGE, 2 * PAGE, PRIVATE | NOREPLACE), Err(Errno::EEXIST));
    assert_eq!(mmap(0, 65 * MIB, PRIVATE), Err(Errno::ENOMEM));
    assert_eq!(mmap(0, PAGE, PRIVATE | MapFlags::HUGETLB.bits() | 16 << 26), Err(Errno::EINVAL));
    space.check();
}

#[test]
fn hints_are_taken_when_free() {
    let mut space = space(64 * MIB);
    assert_eq!(space.mmap(100 * MIB + 5, PAGE, RW, PRIVATE), Ok(100 * MIB));
    let other = space.mmap(100 * MIB, PAGE, RW, PRIVATE).unwrap();
    assert_ne!(other, 100 * MIB);
    assert_eq!(space.mmap(1, PAGE, RW, PRIVATE).unwrap(), other - PAGE, "0x1 rounds to no hint");
    let low = space.mmap(0, PAGE, RW, PRIVATE | MapFlags::LOW_2G.bits()).unwrap();
    assert!((1 << 30..2 << 30).contains(&low));
    let huge = space.mmap(0, PAGE, RW, PRIVATE | MapFlags::HUGETLB.bits()).unwrap();
    assert!(huge.is_multiple_of(LARGE_PAGE) && space.is_mapped(huge, LARGE_PAGE, Prot::WRITE));
}

#[test]
fn reserved_memory_takes_none_until_it_is_accessible() {
    let mut space = space(64 * MIB);
    let free = space.machine.frames.free_bytes();
    let at = space.mmap(0, 10 * HUGE_PAGE, NONE, PRIVATE);
    assert_eq!(at, Err(Errno::ENOMEM), "no address space below the top of this test");
    let at = space.mmap(HUGE_PAGE, 1000 * HUGE_PAGE, NONE, PRIVATE).unwrap();
    assert_eq!((space.machine.frames.free_bytes(), space.used_bytes()), (free, 0));
    space.mprotect(at + 4 * LARGE_PAGE, 2 * LARGE_PAGE, RW).unwrap();
    assert_eq!(space.used_bytes(), 2 * LARGE_PAGE);
    assert_eq!(space.mprotect(at, 100 * MIB, RW), Err(Errno::ENOMEM));
    assert_eq!(space.used_bytes(), 2 * LARGE_PAGE);
    space.check();
    assert_eq!(space.mmap(at, 1000 * HUGE_PAGE, NONE, PRIVATE | FIXED), Ok(at));
    assert_eq!(space.used_bytes(), 0);
    space.check();
}

#[test]
fn inaccessible_memory_keeps_its_contents_and_fixed_mappings_clear_it() {
    let mut space = space(64 * MIB);
    let at = space.mmap(0, 8 * MIB, RW, PRIVATE).unwrap();
    space.poke(at + PAGE, 7);
    space.mprotect(at, 4 * PAGE, NONE).unwrap();
    assert!(!space.is_mapped(at, 1, Prot::READ) && space.is_mapped(at + 4 * PAGE, 1, Prot::READ));
    space.check();
    space.mprotect(at, 4 * PAGE, R).unwrap();
    assert_eq!(space.peek(at + PAGE), 7);
    let free = space.machine.frames.free_bytes();
    // Nearly all memory is taken, so this works only because the frames are used again.
    space.mmap(0, 50 * MIB, RW, PRIVATE).unwrap();
    assert!(space.mmap(at, 8 * MIB, RW, PRIVATE | FIXED).is_ok() && free < 58 * MIB);
    assert_eq!(space.peek(at + PAGE), 0);
    space.check();
}

#[test]
fn borrowed_memory_is_not_freed() {
    let mut space = space(64 * MIB);
    let at = 16 * MIB;
    space.map_borrowed(at..at + PAGE, 0x10_0000, Prot::READ, Kind::Vdso).unwrap();
    space.check();
    assert_eq!(space.mmap(at, 2 * PAGE, RW, PRIVATE | FIXED), Ok(at));
    assert_ne!(space.translate(at).unwrap().0, 0x10_0000);
    space.check();
    space.munmap(at, PAGE).unwrap();
    space.map_borrowed(at..at + PAGE, 0x10_0000, Prot::READ, Kind::Vdso).unwrap();
    space.munmap(at, 2 * PAGE).unwrap();
    space.check();
    assert!(space.pages().is_empty());
}

#[test]
fn mremap_moves_pages_without_copying() {
    let mut space = space(64 * MIB);
    let blocker = space.mmap(0, PAGE, RW, PRIVATE).unwrap();
    let at = space.mmap(blocker - 4 * MIB, 4 * MIB, RW, PRIVATE).unwrap();
    space.poke(at, 5);
    let frame = space.translate(at).unwrap();
    let new = space.mremap(at, 4 * MIB, 12 * MIB, MAYMOVE, 0).unwrap();
    assert_eq!((space.translate(new).unwrap(), space.peek(new)), (frame, 5));
    assert!(new < at && !space.is_mapped(at, 1, Prot::READ));
    let flushes = space.machine.flushes;
    assert_eq!(space.mremap(new, 12 * MIB, 2 * MIB, 0, 0), Ok(new));
    assert_eq!((space.used_bytes(), space.machine.flushes - flushes), (2 * MIB + PAGE, 1));
    assert_eq!(space.mremap(new, 2 * MIB, 3 * MIB, 0, 0), Ok(new), "grows in place");
    space.check();
}

#[test]
fn mremap_refuses_as_linux_does() {
    let mut space = space(64 * MIB);
    let at = space.mmap(128 * MIB, 4 * PAGE, RW, PRIVATE).unwrap();
    space.mmap(at + 4 * PAGE, PAGE, R, PRIVATE | FIXED).unwrap();
    let mut mremap = |old, new, flags, to| space.mremap(at, old, new, flags, to);
    assert_eq!(mremap(PAGE, 0, 0, 0), Err(Errno::EINVAL));
    assert_eq!(mremap(PAGE, PAGE, 8, 0), Err(Errno::EINVAL));
    assert_eq!(mremap(PAGE, PAGE, 5, 0), Err(Errno::EINVAL), "MREMAP_DONTUNMAP");
    assert_eq!(mremap(PAGE, PAGE, 2, at), Err(Errno::EINVAL), "MREMAP_FIXED alone");
    assert_eq!(mremap(4 * PAGE, PAGE, MOVE_TO, at + PAGE), Err(Errno::EINVAL), "overlap");
    assert_eq!(mremap(0, PAGE, MAYMOVE, 0), Err(Errno::EINVAL));
    assert_eq!(mremap(5 * PAGE, 6 * PAGE, MAYMOVE, 0), Err(Errno::EFAULT), "two areas");
    assert_eq!(mremap(4 * PAGE, 5 * PAGE, 0, 0), Err(Errno::ENOMEM), "no room");
    assert_eq!(mremap(PAGE, PAGE, MOVE_TO, 0x1000), Err(Errno::EPERM));
    assert_eq!(space.mremap(at + MIB, PAGE, PAGE, 0, 0), Err(Errno::EFAULT), "a hole");
    space.check();
}

#[test]
fn the_heap_is_mapped_ahead_and_always_clear() {
    let mut space = space(64 * MIB);
    assert_eq!(space.brk(0), HEAP);
    assert_eq!(space.brk(HEAP + 100), HEAP + 100);
    assert_eq!(space.used_bytes(), LARGE_PAGE);
    assert_eq!(space.live_writes(|s| assert_eq!(s.brk(HEAP + MIB), HEAP + MIB)), 0);
    space.poke(HEAP, 1);
    space.poke(HEAP + 8 * PAGE, 2);
    assert_eq!(space.brk(HEAP + 8 * PAGE), HEAP + 8 * PAGE);
    assert!(!space.is_mapped(HEAP + 8 * PAGE, 1, Prot::READ));
    space.brk(HEAP + 5 * MIB);
    assert_eq!((space.peek(HEAP), space.peek(HEAP + 8 * PAGE)), (1, 0));
    space.check();
    assert_eq!(space.brk(HEAP + 500 * MIB), HEAP + 5 * MIB, "no memory");
    assert_eq!(space.brk(HEAP - 1), HEAP + 5 * MIB);
    assert_eq!(space.brk(u64::MAX), HEAP + 5 * MIB);
    // What the program maps in the memory ahead takes precedence, and stops the heap.
    let next = HEAP + 5 * MIB + 4 * PAGE;
    assert_eq!(space.mmap(next, PAGE, RW, PRIVATE | NOREPLACE), Ok(next));
    assert_eq!(space.brk(next), HEAP + 5 * MIB);
    assert_eq!(space.brk(next - PAGE), next - PAGE);
    space.check();
    assert_eq!(space.brk(HEAP), HEAP);
    space.munmap(next, PAGE).unwrap();
    assert_eq!(space.used_bytes(), 0);
}

#[test]
fn the_heap_grows_writable_whatever_was_done_to_its_end() {
    let mut space = space(64 * MIB);
    space.brk(HEAP + MIB);
    space.mprotect(HEAP + 8 * PAGE, MIB - 8 * PAGE, R).unwrap();
    space.brk(HEAP + 16 * PAGE);
    space.brk(HEAP + MIB);
    assert!(space.is_mapped(HEAP + 16 * PAGE, PAGE, Prot::WRITE));
    assert!(space.translate(HEAP + 16 * PAGE).unwrap().1.contains(PageFlags::WRITE));
    assert!(!space.translate(HEAP + 8 * PAGE).unwrap().1.contains(PageFlags::WRITE));
    space.check();
}

#[test]
fn advice_clears_private_memory_only() {
    let mut space = space(64 * MIB);
    let private = space.mmap(0, 4 * PAGE, RW, PRIVATE).unwrap();
    let shared = space.mmap(private - PAGE, PAGE, RW, SHARED | FIXED).unwrap();
    space.poke(private, 1);
    space.poke(shared, 2);
    space.madvise(shared, 5 * PAGE, DONTNEED).unwrap();
    assert_eq!((space.peek(private), space.peek(shared)), (0, 2));
    assert_eq!(space.madvise(private, 8 * PAGE, DONTNEED), Err(Errno::ENOMEM));
    assert_eq!(space.madvise(private, PAGE, 7), Err(Errno::EINVAL));
    assert_eq!(space.madvise(private + 1, PAGE, DONTNEED), Err(Errno::EINVAL));
    assert_eq!(space.madvise(shared, PAGE, 8), Err(Errno::EINVAL), "MADV_FREE");
    assert_eq!(space.madvise(private, 0, 14), Ok(()));
}

#[test]
fn checks_find_holes() {
    let mut space = space(64 * MIB);
    let at = space.mmap(128 * MIB, 2 * PAGE, RW, PRIVATE).unwrap();
    space.mmap(at + 2 * PAGE, PAGE, NONE, PRIVATE | FIXED).unwrap();
    let mut residency = [9; 3];
    space.mincore(at, &mut residency).unwrap();
    assert_eq!(residency, [1, 1, 0]);
    assert_eq!(space.mincore(at, &mut [0; 4]), Err(Errno::ENOMEM));
    assert_eq!(space.msync(at, 3 * PAGE, 4), Ok(()));
    assert_eq!(space.msync(at, 4 * PAGE, 4), Err(Errno::ENOMEM));
    assert_eq!(space.msync(at, PAGE, 5), Err(Errno::EINVAL));
    assert_eq!(space.mlock(at + 5, PAGE, 0), Ok(()));
    assert_eq!(space.mlock(at + 5, 2 * PAGE, 0), Err(Errno::ENOMEM), "PROT_NONE");
    assert_eq!(space.munlock(at, 3 * PAGE), Ok(()));
    assert_eq!(space.munlock(at, 4 * PAGE), Err(Errno::ENOMEM));
    assert_eq!(space.mprotect(at, 4 * PAGE, R), Err(Errno::ENOMEM));
    assert!(space.is_mapped(at, 2 * PAGE, Prot::READ), "nothing was changed");
    assert_eq!(space.mprotect(at, PAGE, 0x10), Err(Errno::EINVAL));
    assert_eq!(space.munmap(at, 0), Err(Errno::EINVAL));
    assert_eq!(space.munmap(at + 64 * MIB, PAGE), Ok(()), "nothing there is no error");
}

#[test]
fn too_many_areas_are_enomem() {
    let mut space = space(64 * MIB);
    let at = space.mmap(HUGE_PAGE, 20_000 * PAGE, NONE, PRIVATE).unwrap();
    let made = (0..).step_by(2).find(|i| space.munmap(at + (1 + i) * PAGE, PAGE).is_err()).unwrap();
    assert_eq!(made, 2 * (super::area::Areas::MAX as u64 - 1));
    assert_eq!(space.munmap(at, 10_000 * PAGE), Ok(()));
}

#[test]
fn code_can_be_placed_near_code() {
    let mut space = space(64 * MIB);
    let text = 4 * MIB..6 * MIB;
    space.map_fixed(text.clone(), Prot::READ | Prot::EXEC, Kind::Image).unwrap();
    assert_eq!(space.find_near(&text, 100, HUGE_PAGE), Some(text.start - PAGE));
    assert_eq!(space.find_near(&text, 5 * MIB, 16 * MIB), Some(15 * MIB));
    assert_eq!(space.find_near(&text, 15 * MIB, 16 * MIB), None);
    assert_eq!(space.count_escape(5 * MIB), Some(1));
    assert_eq!(space.count_escape(5 * MIB), Some(2));
    space.mark_rewritten(5 * MIB);
    assert_eq!(space.count_escape(5 * MIB), None);
}
