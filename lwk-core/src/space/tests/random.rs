//! Random sequences of calls against a model with one entry for each page.

use std::collections::BTreeMap;
use std::vec::Vec;

use core::ops::Range;

use margay_abi::Errno;
use margay_abi::layout::PAGE;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, prop_oneof};
use proptest::proptest;
use proptest::test_runner::Config;

use super::{
    DONTNEED, FIXED, HEAP, MAYMOVE, MIB, MOVE_TO, NONE, NOREPLACE, PRIVATE, R, RW, Space, space,
};
use crate::paging::PageFlags;
use crate::space::{Prot, page_flags};

const MEMORY: u64 = 26 * MIB;
/// Where the calls take place: the heap's beginning, and what lies above it.
const BASE: u64 = HEAP - 4 * MIB;

/// More than the memory ahead of the heap, which is taken without being the program's.
const AHEAD: u64 = 4 * MIB;

#[derive(Clone, Debug)]
enum Call {
    Mmap { addr: u64, bytes: u64, prot: u64, flags: u64 },
    Munmap(Range<u64>),
    Mprotect(Range<u64>, u64),
    Mremap { old: Range<u64>, bytes: u64, flags: u64, to: u64 },
    Brk(u64),
    DontNeed(Range<u64>),
    Write { addr: u64, word: u64 },
}

/// A page of the model.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Page {
    prot: Prot,
    word: u64,
}

#[derive(Default)]
struct Model {
    pages: BTreeMap<u64, Page>,
    brk: u64,
}

fn pages_of(range: &Range<u64>) -> impl Iterator<Item = u64> + use<> {
    range.clone().step_by(PAGE as usize)
}

impl Model {
    fn covers(&self, range: &Range<u64>) -> bool {
        pages_of(range).all(|page| self.pages.contains_key(&page))
    }

    fn is_free(&self, range: &Range<u64>) -> bool {
        self.pages.range(range.clone()).next().is_none()
    }

    fn remove(&mut self, range: &Range<u64>) {
        self.pages.retain(|page, _| !range.contains(page));
    }

    fn set(&mut self, range: &Range<u64>, prot: Prot) {
        self.pages.extend(pages_of(range).map(|page| (page, Page { prot, word: 0 })));
    }

    fn change(&mut self, range: &Range<u64>, change: impl Fn(&mut Page)) {
        self.pages.range_mut(range.clone()).for_each(|(_, page)| change(page));
    }

    /// Moves what is in `old`; what `new` has more is as the first page of `old`, and clear.
    fn relocate(&mut self, old: &Range<u64>, new: &Range<u64>) {
        let first = self.pages[&old.start];
        let moved: Vec<_> = pages_of(old).map(|page| self.pages.remove(&page)).collect();
        let mut moved = moved.into_iter().flatten();
        for page in pages_of(new) {
            let fresh = Page { word: 0, ..first };
            self.pages.insert(page, moved.next().unwrap_or(fresh));
        }
    }
}

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0..4096_u64).prop_map(|page| BASE + page * PAGE),
        (0..8_u64).prop_map(|large| BASE + large * 2 * MIB),
    ]
}

fn bytes() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (1..40_u64).prop_map(|pages| pages * PAGE),
        2 => (1..1600_u64).prop_map(|pages| pages * PAGE),
        2 => (1..5_u64).prop_map(|large| large * 2 * MIB),
    ]
}

fn range() -> impl Strategy<Value = Range<u64>> {
    (address(), bytes()).prop_map(|(start, bytes)| start..start + bytes)
}

fn prot() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(RW), 1 => Just(R), 1 => Just(NONE), 1 => Just(5)]
}

fn call() -> impl Strategy<Value = Call> {
    let flags = prop_oneof![Just(PRIVATE), Just(PRIVATE | FIXED), Just(PRIVATE | NOREPLACE)];
    let remap = prop_oneof![Just(0), Just(MAYMOVE), Just(MOVE_TO)];
    prop_oneof![
        6 => (address(), bytes(), prot(), flags)
            .prop_map(|(addr, bytes, prot, flags)| Call::Mmap { addr, bytes, prot, flags }),
        3 => range().prop_map(Call::Munmap),
        4 => (range(), prot()).prop_map(|(range, prot)| Call::Mprotect(range, prot)),
        4 => (range(), bytes(), remap, address())
            .prop_map(|(old, bytes, flags, to)| Call::Mremap { old, bytes, flags, to }),
        3 => (0..9 * MIB).prop_map(|bytes| Call::Brk(HEAP + bytes)),
        1 => range().prop_map(Call::DontNeed),
        6 => (address(), 1..100_u64).prop_map(|(addr, word)| Call::Write { addr, word }),
    ]
}

/// Makes a call and holds it against the model.
fn step(space: &mut Space, model: &mut Model, call: &Call) {
    let free = space.machine.frames.free_bytes();
    let short = |bytes: u64| free < bytes + AHEAD;
    match call.clone() {
        Call::Mmap { addr, bytes, prot, flags } => {
            let wanted = addr..addr + bytes;
            let was_free = model.is_free(&wanted);
            match space.mmap(addr, bytes, prot, flags) {
                Ok(at) => {
                    let range = at..at + bytes;
                    assert!(at == addr || (flags & (FIXED | NOREPLACE) == 0 && !was_free));
                    assert!(flags & FIXED != 0 || model.is_free(&range));
                    model.set(&range, Prot::from_bits_truncate(prot as u32));
                }
                Err(Errno::EEXIST) => assert!(flags & NOREPLACE != 0 && !was_free),
                Err(error) => assert!(error == Errno::ENOMEM && short(bytes), "{error:?}"),
            }
        }
        Call::Munmap(range) => {
            space.munmap(range.start, range.end - range.start).unwrap();
            model.remove(&range);
        }
        Call::Mprotect(range, prot) => {
            let bytes = range.end - range.start;
            match space.mprotect(range.start, bytes, prot) {
                Ok(()) => {
                    assert!(model.covers(&range));
                    let prot = Prot::from_bits_truncate(prot as u32);
                    model.change(&range, |page| page.prot = prot);
                }
                Err(error) => {
                    assert!(error == Errno::ENOMEM && (!model.covers(&range) || short(bytes)));
                }
            }
        }
        Call::Mremap { old, bytes, flags, to } => remap(space, model, (old, bytes), flags, to),
        Call::Brk(addr) => set_break(space, model, addr),
        Call::DontNeed(range) => {
            let result = space.madvise(range.start, range.end - range.start, DONTNEED);
            assert_eq!(result.is_ok(), model.covers(&range));
            model.change(&range, |page| page.word = 0);
        }
        Call::Write { addr, word } => {
            let page = model.pages.get_mut(&addr).filter(|page| page.prot.contains(Prot::WRITE));
            assert_eq!(space.is_mapped(addr, PAGE, Prot::WRITE), page.is_some());
            if let Some(page) = page {
                page.word = word;
                space.poke(addr, word);
            }
        }
    }
}

/// `mremap`: its results, and when it may fail.
fn remap(
    space: &mut Space,
    model: &mut Model,
    (old, bytes): (Range<u64>, u64),
    flags: u64,
    to: u64,
) {
    let free = space.machine.frames.free_bytes();
    let short = free < bytes + AHEAD;
    let old_bytes = old.end - old.start;
    match space.mremap(old.start, old_bytes, bytes, flags, to) {
        Ok(at) => {
            assert!(flags != MOVE_TO || at == to);
            let new = at..at + bytes;
            let kept = old.start..old.start + bytes.min(old_bytes);
            if at == old.start {
                model.remove(&(kept.end..old.end));
                let prot = model.pages[&old.start].prot;
                model.set(&(new.start + (kept.end - kept.start)..new.end), prot);
            } else {
                assert!(model.covers(&kept), "only one area can be moved");
                if flags == MOVE_TO {
                    model.remove(&new);
                }
                assert!(model.is_free(&new));
                model.relocate(&kept, &new);
                model.remove(&old);
            }
        }
        Err(Errno::EINVAL) => {
            assert!(flags == MOVE_TO && old.start < to + bytes && to < old.end);
        }
        Err(Errno::EFAULT) => {
            let kept = old.start..old.start + bytes.min(old_bytes);
            let prots: Vec<_> = pages_of(&kept).map(|p| model.pages.get(&p)).collect();
            let uniform = prots.iter().all(|p| p.map(|p| p.prot) == prots[0].map(|p| p.prot));
            let heap = kept.start < model.brk && HEAP < kept.end;
            assert!(!model.covers(&kept) || !uniform || heap);
        }
        Err(error) => {
            assert_eq!(error, Errno::ENOMEM);
            assert!(flags == 0 || short, "{error:?}");
        }
    }
}

/// `brk`: its results, and when it may fail.
fn set_break(space: &mut Space, model: &mut Model, addr: u64) {
    let free = space.machine.frames.free_bytes();
    let (old_top, new_top) = (model.brk.next_multiple_of(PAGE), addr.next_multiple_of(PAGE));
    let got = space.brk(addr);
    let growth = old_top..new_top;
    if got == addr {
        assert!(growth.is_empty() || model.is_free(&growth));
        model.remove(&(new_top..old_top));
        model.set(&growth, Prot::READ | Prot::WRITE);
        model.brk = addr;
    } else {
        assert_eq!(got, model.brk);
        let room = model.is_free(&(old_top..new_top + PAGE));
        assert!(!room || free < new_top - old_top + AHEAD);
    }
}

/// The whole state against the model.
fn compare(space: &mut Space, model: &Model) {
    space.check();
    let ahead = space.heap.ahead();
    let mut areas = BTreeMap::new();
    for area in space.areas() {
        areas.extend(pages_of(&area.range()).map(|page| (page, area.prot)));
    }
    assert!(
        areas
            .iter()
            .map(|(&page, &prot)| (page, prot))
            .eq(model.pages.iter().map(|(&page, p)| (page, p.prot))),
        "areas"
    );
    for extent in space.pages() {
        for (virt, phys) in pages_of(&extent.range()).zip((extent.phys..).step_by(PAGE as usize)) {
            let word = space.machine.words.get(&phys).copied().unwrap_or(0);
            match model.pages.get(&virt) {
                Some(page) => {
                    let flags = page_flags(page.prot);
                    let present = flags.contains(PageFlags::PRESENT);
                    assert!(extent.flags == flags || !present && extent.flags.is_empty());
                    assert_eq!(word, page.word, "at {virt:#x}");
                }
                None => {
                    assert!(ahead.contains(&virt) && word == 0, "at {virt:#x}: {ahead:x?}");
                    assert_eq!(extent.flags, page_flags(Prot::READ | Prot::WRITE));
                }
            }
        }
    }
    let accessible = model.pages.values().filter(|page| !page.prot.is_empty()).count() as u64;
    let held = space.pages().iter().filter(|e| e.flags.is_empty()).map(|e| e.bytes).sum::<u64>();
    let mapped_ahead = ahead.end - ahead.start;
    assert_eq!(space.used_bytes(), accessible * PAGE + held + mapped_ahead);
    assert_eq!(space.machine.frames.free_bytes() + space.used_bytes(), MEMORY - 2 * MIB);
}

proptest! {
    #![proptest_config(Config::with_cases(96))]

    #[test]
    fn calls_do_what_the_model_says(calls in vec(call(), 1..40)) {
        let mut space = space(MEMORY);
        let mut model = Model { brk: HEAP, ..Model::default() };
        for call in &calls {
            step(&mut space, &mut model, call);
            compare(&mut space, &model);
        }
        let everything = 0x1_0000..super::USER_END;
        space.munmap(everything.start, everything.end - everything.start).unwrap();
        space.check();
        assert!(space.pages().is_empty());
        assert_eq!(space.machine.frames.free_bytes(), MEMORY - 2 * MIB);
        assert!(space.machine.tables.allocated() <= 8, "only the spare tables are left");
    }
}
