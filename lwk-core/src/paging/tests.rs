use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

use margay_abi::layout::{HUGE_PAGE, LARGE_PAGE, PAGE};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::Config;
use proptest::{prop_assert, prop_assert_eq, proptest};

use core::ops::Range;

use super::entry::Entry;
use super::{Extent, OutOfTables, PageFlags, PageSize, PageTable, TableMemory};

pub(crate) const ROOT: u64 = 0x1000;
const RW: PageFlags = PageFlags::PRESENT.union(PageFlags::WRITE).union(PageFlags::USER);
const RO: PageFlags = PageFlags::PRESENT.union(PageFlags::USER);
const MIB: u64 = 1 << 20;

/// Table memory that knows which tables the processor sees, and insists on the rules for writing them.
pub(crate) struct Tables {
    tables: BTreeMap<u64, Box<[u64; 512]>>,
    /// Tables that can be reached from the root, with their levels.
    live: BTreeMap<u64, u32>,
    /// Live entries written since [`Self::begin`].
    pub(crate) written: BTreeSet<u64>,
    /// Writes to one of these again.
    rewrites: usize,
    next: u64,
    /// How many tables may still be allocated.
    pub(crate) left: usize,
}

impl Tables {
    pub(crate) fn new() -> Tables {
        Tables {
            tables: BTreeMap::from([(ROOT, Box::new([0; 512]))]),
            live: BTreeMap::from([(ROOT, 4)]),
            written: BTreeSet::new(),
            rewrites: 0,
            next: 1 << 40,
            left: usize::MAX,
        }
    }

    /// Begins to count.
    pub(crate) fn begin(&mut self) {
        self.written.clear();
        self.rewrites = 0;
    }

    /// Tables besides the root.
    pub(crate) fn allocated(&self) -> usize {
        self.tables.len() - 1
    }

    fn linked(&self) -> usize {
        self.live.len() - 1
    }

    /// Notes that the processor sees `table` (or not any more), and what is below it.
    fn set_live(&mut self, table: u64, level: u32, live: bool) {
        if live {
            assert_eq!(self.live.insert(table, level), None, "a table is linked twice");
        } else {
            self.live.remove(&table);
        }
        for entry in *self.tables[&table] {
            if let Some(child) = Entry(entry).table(level) {
                self.set_live(child, level - 1, live);
            }
        }
    }
}

impl TableMemory for Tables {
    fn read(&self, entry_gpa: u64) -> u64 {
        self.tables[&(entry_gpa & !0xfff)][(entry_gpa % PAGE / 8) as usize]
    }

    fn write(&mut self, entry_gpa: u64, value: u64) {
        let table = entry_gpa & !0xfff;
        let old = self.read(entry_gpa);
        let level = self.live.get(&table).copied();
        if let Some(level) = level {
            assert_ne!(old, value, "a live entry was written without need");
            self.rewrites += usize::from(!self.written.insert(entry_gpa));
            if let Some(child) = Entry(old).table(level) {
                self.set_live(child, level - 1, false);
            }
        }
        self.tables.get_mut(&table).unwrap()[(entry_gpa % PAGE / 8) as usize] = value;
        if let Some(level) = level
            && let Some(child) = Entry(value).table(level)
        {
            self.set_live(child, level - 1, true);
        }
    }

    fn alloc_table(&mut self) -> Option<u64> {
        self.left = self.left.checked_sub(1)?;
        self.next += PAGE;
        self.tables.insert(self.next, Box::new([0; 512]));
        Some(self.next)
    }

    fn free_table(&mut self, gpa: u64) {
        assert!(!self.live.contains_key(&gpa), "a table was freed before it was unlinked");
        assert!(self.tables.remove(&gpa).is_some(), "a table was freed twice");
        self.left = self.left.saturating_add(1);
    }
}

fn table() -> (PageTable, Tables) {
    (PageTable::new(ROOT, PageSize::Huge), Tables::new())
}

fn extent(virt: u64, phys: u64, bytes: u64, flags: PageFlags) -> Extent {
    Extent { virt, phys, bytes, flags }
}

/// All extents in `range`.
pub(crate) fn extents(
    table: &PageTable,
    memory: &impl TableMemory,
    range: Range<u64>,
) -> Vec<Extent> {
    let mut rest = range;
    core::iter::from_fn(|| table.next_extent(memory, &mut rest)).collect()
}

#[test]
fn the_largest_pages_are_used() {
    let (mut table, mut memory) = table();
    table.map(&mut memory, extent(HUGE_PAGE, 2 * HUGE_PAGE, 2 * HUGE_PAGE, RW)).unwrap();
    assert_eq!((memory.written.len(), memory.linked()), (1, 1), "a PDPT and two entries of it");
    memory.begin();
    table.map(&mut memory, extent(4 * HUGE_PAGE, 2 * MIB, HUGE_PAGE, RW)).unwrap();
    assert_eq!((memory.written.len(), memory.linked()), (1, 2), "a directory of 2 MiB pages");
    memory.begin();
    table.map(&mut memory, extent(5 * HUGE_PAGE, PAGE, 4 * MIB, RW)).unwrap();
    assert_eq!((memory.written.len(), memory.linked()), (1, 5), "a directory and two tables");
    assert_eq!(table.translate(&memory, 5 * HUGE_PAGE + 0x1234), Some((0x2234, RW)));
    assert_eq!(table.translate(&memory, 6 * HUGE_PAGE), None);
}

#[test]
fn a_new_table_costs_one_live_write_and_an_emptied_one_another() {
    let (mut table, mut memory) = table();
    table.map(&mut memory, extent(0, 0, 2 * MIB, RW)).unwrap();
    memory.begin();
    table.map(&mut memory, extent(4 * MIB, PAGE, 511 * PAGE, RW)).unwrap();
    assert_eq!(memory.written.len(), 1);
    memory.begin();
    table.unmap(&mut memory, 4 * MIB..6 * MIB).unwrap();
    assert_eq!(memory.written.len(), 1);
    memory.begin();
    table.unmap(&mut memory, 0..HUGE_PAGE).unwrap();
    assert_eq!((memory.written.len(), memory.linked()), (1, 0));
}

#[test]
fn what_does_not_change_is_not_written() {
    let (mut table, mut memory) = table();
    table.map(&mut memory, extent(0, PAGE, 4 * MIB, RW)).unwrap();
    memory.begin();
    table.protect(&mut memory, 0..4 * MIB, RW).unwrap();
    table.map(&mut memory, extent(0, PAGE, 4 * MIB, RW)).unwrap();
    assert!(memory.written.is_empty() && !table.take_stale());
    table.protect(&mut memory, 0..3 * PAGE, RO).unwrap();
    assert_eq!(memory.written.len(), 3);
    assert!(table.take_stale());
}

#[test]
fn a_table_that_changes_much_is_replaced_by_a_copy() {
    let (mut table, mut memory) = table();
    table.map(&mut memory, extent(0, PAGE, 10 * PAGE, RW)).unwrap();
    assert!(!table.take_stale());
    memory.begin();
    table.map(&mut memory, extent(20 * PAGE, PAGE, 300 * PAGE, RW)).unwrap();
    assert_eq!(memory.written.len(), 1);
    assert!(table.take_stale(), "the processor may know the old table");
    memory.begin();
    table.map(&mut memory, extent(400 * PAGE, PAGE, 2 * PAGE, RW)).unwrap();
    assert_eq!(memory.written.len(), 2);
    assert!(!table.take_stale());
}

#[test]
fn a_large_page_is_split_only_where_it_must() {
    let (mut table, mut memory) = table();
    table.map(&mut memory, extent(0, 0, HUGE_PAGE, RW)).unwrap();
    memory.begin();
    table.protect(&mut memory, PAGE..2 * PAGE, RO).unwrap();
    assert_eq!((memory.written.len(), memory.linked()), (1, 3));
    let found = extents(&table, &memory, 0..HUGE_PAGE);
    assert_eq!(
        found.iter().map(|e| e.bytes).collect::<Vec<_>>(),
        [PAGE, PAGE, HUGE_PAGE - 2 * PAGE]
    );
    assert_eq!(found[1].flags, RO);
}

#[test]
fn a_held_page_keeps_its_frame() {
    let (mut table, mut memory) = table();
    let borrowed = RW | PageFlags::BORROWED;
    table.map(&mut memory, extent(0, 4 * MIB, 2 * MIB, borrowed)).unwrap();
    table.protect(&mut memory, 0..2 * MIB, PageFlags::empty()).unwrap();
    let (&directory, _) = memory.live.iter().find(|(_, level)| **level == 2).unwrap();
    assert_eq!(memory.read(directory) & 1, 0, "not present");
    assert_eq!(table.translate(&memory, PAGE), Some((4 * MIB + PAGE, PageFlags::BORROWED)));
    memory.begin();
    table.protect(&mut memory, PAGE..2 * PAGE, RO).unwrap();
    assert_eq!(table.translate(&memory, PAGE).unwrap().1, RO | PageFlags::BORROWED);
    assert_eq!(table.translate(&memory, 0).unwrap().1, PageFlags::BORROWED);
}

#[test]
fn kernel_addresses_work_too() {
    let (mut table, mut memory) = table();
    let direct = 0xffff_8880_0000_0000;
    let flags = PageFlags::PRESENT | PageFlags::WRITE | PageFlags::GLOBAL | PageFlags::NO_EXECUTE;
    table.map(&mut memory, extent(direct, 0, HUGE_PAGE + 4 * MIB, flags)).unwrap();
    assert_eq!(table.translate(&memory, direct + HUGE_PAGE + 5), Some((HUGE_PAGE + 5, flags)));
    let image = 0xffff_ffff_8020_0000;
    table.map(&mut memory, extent(image, 2 * MIB, 8 * PAGE, flags)).unwrap();
    assert_eq!(table.translate(&memory, image + 5), Some((2 * MIB + 5, flags)));
}

/// Pages as a list of extents: what the tables should say.
#[derive(Clone, Default)]
pub(crate) struct Model(Vec<Extent>);

impl Model {
    /// Takes out what is in `range`.
    pub(crate) fn cut(&mut self, range: &Range<u64>) -> Vec<Extent> {
        let part = |e: &Extent, from: u64, to: u64| {
            (from < to).then(|| extent(from, e.phys + (from - e.virt), to - from, e.flags))
        };
        let all = core::mem::take(&mut self.0);
        let (mut kept, mut taken) = (Vec::new(), Vec::new());
        for e in all {
            let end = e.virt + e.bytes;
            kept.extend(part(&e, e.virt, end.min(range.start)));
            taken.extend(part(&e, e.virt.max(range.start), end.min(range.end)));
            kept.extend(part(&e, e.virt.max(range.end), end));
        }
        self.0 = kept;
        taken
    }

    pub(crate) fn set(&mut self, extent: Extent) {
        self.cut(&extent.range());
        self.0.push(extent);
    }

    pub(crate) fn protect(&mut self, range: &Range<u64>, flags: PageFlags) {
        for e in self.cut(range) {
            self.0.push(Extent { flags, ..e });
        }
    }

    /// In order, neighbours joined.
    pub(crate) fn extents(&self) -> Vec<Extent> {
        let mut sorted = self.0.clone();
        sorted.sort_by_key(|e| e.virt);
        sorted.into_iter().fold(Vec::new(), |mut joined: Vec<Extent>, e| {
            match joined.last_mut() {
                Some(last)
                    if last.range().end == e.virt
                        && last.phys + last.bytes == e.phys
                        && last.flags == e.flags =>
                {
                    last.bytes += e.bytes;
                }
                _ => joined.push(e),
            }
            joined
        })
    }
}

#[derive(Clone, Debug)]
enum Op {
    Map(Extent),
    Unmap(Range<u64>),
    Protect(Range<u64>, PageFlags),
    Move(Range<u64>, u64),
}

/// Addresses around a 1 GiB boundary, often at the boundaries of larger pages.
fn address() -> impl Strategy<Value = u64> {
    let near = HUGE_PAGE - 6 * MIB;
    prop_oneof![
        (0..3072_u64).prop_map(move |page| near + page * PAGE),
        (0..6_u64).prop_map(move |large| near + large * LARGE_PAGE),
        (0..3_u64).prop_map(|huge| huge * HUGE_PAGE),
    ]
}

fn bytes() -> impl Strategy<Value = u64> {
    prop_oneof![
        20 => (1..1500_u64).prop_map(|pages| pages * PAGE),
        10 => (1..3_u64).prop_map(|large| large * LARGE_PAGE),
        1 => Just(HUGE_PAGE),
    ]
}

fn flags() -> impl Strategy<Value = PageFlags> {
    prop_oneof![Just(RW), Just(RO), Just(RW | PageFlags::NO_EXECUTE), Just(PageFlags::empty())]
}

fn op() -> impl Strategy<Value = Op> {
    let range = || (address(), bytes()).prop_map(|(virt, bytes)| virt..virt + bytes);
    prop_oneof![
        (range(), address(), flags()).prop_map(|(r, phys, flags)| Op::Map(extent(
            r.start,
            phys,
            r.end - r.start,
            flags
        ))),
        range().prop_map(Op::Unmap),
        (range(), flags()).prop_map(|(range, flags)| Op::Protect(range, flags)),
        (range(), address()).prop_map(|(range, to)| Op::Move(range, to + 8 * HUGE_PAGE)),
    ]
}

fn apply(table: &mut PageTable, memory: &mut Tables, op: &Op) -> Result<(), OutOfTables> {
    match op.clone() {
        Op::Map(extent) => table.map(memory, extent),
        Op::Unmap(range) => table.unmap(memory, range),
        Op::Protect(range, flags) => table.protect(memory, range, flags),
        Op::Move(range, to) => {
            table.unmap(memory, to..to + (range.end - range.start))?;
            memory.begin();
            table.move_range(memory, range, to)
        }
    }
}

fn apply_to_model(model: &mut Model, op: &Op) {
    match op.clone() {
        Op::Map(extent) => model.set(extent),
        Op::Unmap(range) => drop(model.cut(&range)),
        Op::Protect(range, flags) => model.protect(&range, flags),
        Op::Move(range, to) => {
            model.cut(&(to..to + (range.end - range.start)));
            for e in model.cut(&range) {
                model.set(Extent { virt: to + (e.virt - range.start), ..e });
            }
        }
    }
}

proptest! {
    #![proptest_config(Config::with_cases(64))]

    #[test]
    fn the_tables_say_what_was_asked(ops in vec(op(), 1..24)) {
        let (mut table, mut memory) = table();
        let mut model = Model::default();
        for op in &ops {
            memory.begin();
            apply(&mut table, &mut memory, op).unwrap();
            // A move is two changes, which may meet in one table.
            prop_assert!(memory.rewrites == 0 || matches!(op, Op::Move(..)));
            apply_to_model(&mut model, op);
            prop_assert_eq!(extents(&table, &memory, 0..16 * HUGE_PAGE), model.extents());
        }
        memory.begin();
        table.unmap(&mut memory, 0..16 * HUGE_PAGE).unwrap();
        prop_assert_eq!(memory.linked(), 0);
        prop_assert!(memory.allocated() <= 8, "only the spare tables are left");
    }

    #[test]
    fn a_change_without_memory_for_tables_changes_nothing(
        ops in vec(op(), 1..12), last in op(), left in 0..6_usize, small in any::<bool>()
    ) {
        let largest = if small { PageSize::Large } else { PageSize::Huge };
        let (mut table, mut memory) = (PageTable::new(ROOT, largest), Tables::new());
        for op in &ops {
            memory.begin();
            apply(&mut table, &mut memory, op).unwrap();
        }
        if let Op::Move(range, to) = &last {
            memory.begin();
            table.unmap(&mut memory, *to..to + (range.end - range.start)).unwrap();
        }
        let before = extents(&table, &memory, 0..16 * HUGE_PAGE);
        memory.left = left;
        memory.begin();
        if apply(&mut table, &mut memory, &last).is_err() {
            prop_assert!(memory.written.is_empty());
            prop_assert_eq!(extents(&table, &memory, 0..16 * HUGE_PAGE), before);
        }
    }
}
