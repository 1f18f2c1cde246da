use std::vec::Vec;

use margay_abi::layout::{HUGE_PAGE, LARGE_PAGE, PAGE};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::{prop_assert, prop_assert_eq, proptest};

use super::{Frames, Run, Use};

const MIB: u64 = 1 << 20;

/// An allocator whose memory from 4 MiB on is free.
fn frames(memory_bytes: u64) -> Frames {
    let mut frames = Frames::new(memory_bytes);
    frames.free(4 * MIB, memory_bytes - 4 * MIB, Use::Clean);
    frames
}

#[test]
fn a_large_request_gets_contiguous_whole_chunks() {
    let mut frames = frames(64 * MIB);
    let run = frames.alloc_run(10 * MIB + PAGE, 8 * MIB).unwrap();
    assert_eq!(run, Run { gpa: 4 * MIB, bytes: 10 * MIB });
    let tail = frames.alloc_run(PAGE, 18 * MIB).unwrap();
    assert_eq!(tail, Run { gpa: 14 * MIB, bytes: PAGE });
}

#[test]
fn before_a_boundary_only_the_head_is_given() {
    let mut frames = frames(64 * MIB);
    assert_eq!(frames.alloc_run(8 * MIB, 2 * MIB - 3 * PAGE).unwrap().bytes, 3 * PAGE);
    let large = frames.alloc_run(8 * MIB - 3 * PAGE, 2 * MIB).unwrap();
    assert!(large.gpa.is_multiple_of(LARGE_PAGE) && large.bytes == 6 * MIB);
}

#[test]
fn a_gigabyte_lies_at_its_boundary_if_it_can() {
    let mut frames = frames(3 * HUGE_PAGE);
    let run = frames.alloc_run(HUGE_PAGE, 5 * HUGE_PAGE).unwrap();
    assert_eq!(run, Run { gpa: HUGE_PAGE, bytes: HUGE_PAGE });
    let head = frames.alloc_run(2 * HUGE_PAGE, HUGE_PAGE - 6 * MIB).unwrap();
    assert_eq!(head.bytes, 6 * MIB);
    let next = frames.alloc_run(2 * HUGE_PAGE, HUGE_PAGE).unwrap();
    assert_eq!(next, Run { gpa: 2 * HUGE_PAGE, bytes: HUGE_PAGE });
    // Now only the first GiB is left, which is not whole.
    let rest = frames.alloc_run(2 * HUGE_PAGE, 2 * HUGE_PAGE).unwrap();
    assert!(rest.bytes < HUGE_PAGE && rest.bytes > HUGE_PAGE - 16 * MIB);
}

#[test]
fn small_requests_leave_chunks_whole() {
    let mut frames = frames(12 * MIB);
    let small: Vec<Run> = (0..512).map(|i| frames.alloc_run(PAGE, i * PAGE).unwrap()).collect();
    assert!(small.iter().all(|run| run.gpa / LARGE_PAGE == small[0].gpa / LARGE_PAGE));
    assert_eq!(frames.alloc_run(6 * MIB, 0).unwrap().bytes, 6 * MIB);
    assert_eq!(frames.alloc_run(PAGE, 0), None);
    assert_eq!(frames.alloc_chunk(), None);
}

#[test]
fn only_used_memory_is_dirty() {
    let mut frames = frames(16 * MIB);
    let run = frames.alloc_run(4 * PAGE, 0).unwrap();
    assert_eq!(frames.first_dirty(run), None);
    frames.free(run.gpa, run.bytes, Use::Clean);
    assert_eq!(frames.first_dirty(run), None);
    let run = frames.alloc_run(4 * PAGE, 0).unwrap();
    frames.free(run.gpa + PAGE, 2 * PAGE, Use::Dirty);
    let dirty = Run { gpa: run.gpa + PAGE, bytes: 2 * PAGE };
    assert_eq!(frames.first_dirty(Run { gpa: 0, bytes: 16 * MIB }), Some(dirty));
}

#[test]
#[should_panic(expected = "double free")]
fn a_double_free_is_caught() {
    let mut frames = frames(16 * MIB);
    frames.free(8 * MIB, PAGE, Use::Dirty);
}

#[derive(Clone, Debug)]
enum Op {
    Alloc { frames: u64, virt_frame: u64 },
    Chunk,
    Free { index: usize, dirty: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let frames = prop_oneof![1..40_u64, 400..2000_u64, Just(512), Just(1024)];
    prop_oneof![
        3 => (frames, prop_oneof![Just(0), 0..2048_u64])
            .prop_map(|(frames, virt_frame)| Op::Alloc { frames, virt_frame }),
        1 => Just(Op::Chunk),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(index, dirty)| Op::Free { index, dirty }),
    ]
}

proptest! {
    /// Against a model with one cell for each frame.
    #[test]
    fn memory_is_never_given_twice_nor_lost(ops in vec(op(), 1..60)) {
        #[derive(Clone, Copy, PartialEq)]
        enum Cell { Taken, Free }
        let memory = 24 * MIB + 5 * PAGE;
        let mut frames = frames(memory);
        let mut free = std::vec![Cell::Free; (memory / PAGE) as usize];
        free[..1024].fill(Cell::Taken);
        let mut dirty = std::vec![false; free.len()];
        let mut held: Vec<Run> = Vec::new();
        let cells = |run: Run| (run.gpa / PAGE) as usize..((run.gpa + run.bytes) / PAGE) as usize;
        for op in ops {
            match op {
                Op::Alloc { frames: count, virt_frame } => {
                    let run = frames.alloc_run(count * PAGE, virt_frame * PAGE);
                    prop_assert!(run.is_some() || free.iter().all(|&cell| cell == Cell::Taken));
                    prop_assert!(run.is_none_or(|run| run.bytes <= count * PAGE && run.bytes != 0));
                    held.extend(run);
                }
                Op::Chunk => {
                    let chunk = frames.alloc_chunk();
                    prop_assert!(chunk.is_none_or(|gpa| gpa.is_multiple_of(LARGE_PAGE)));
                    held.extend(chunk.map(|gpa| Run { gpa, bytes: LARGE_PAGE }));
                }
                Op::Free { index, dirty: used } if !held.is_empty() => {
                    let run = held.swap_remove(index % held.len());
                    frames.free(run.gpa, run.bytes, if used { Use::Dirty } else { Use::Clean });
                    free[cells(run)].fill(Cell::Free);
                    dirty[cells(run)].iter_mut().for_each(|bit| *bit |= used);
                    prop_assert_eq!(frames.first_dirty(run).is_some(), dirty[cells(run)].contains(&true));
                    continue;
                }
                Op::Free { .. } => continue,
            }
            if let Some(&run) = held.last().filter(|&&run| free[cells(run)].contains(&Cell::Free)) {
                prop_assert!(free[cells(run)].iter().all(|&cell| cell == Cell::Free));
                free[cells(run)].fill(Cell::Taken);
            }
            let count = free.iter().filter(|&&cell| cell == Cell::Free).count() as u64;
            prop_assert_eq!(frames.free_bytes(), count * PAGE);
        }
    }
}
