//! Which physical memory is free.
//!
//! An LWK lives from large pages, so this allocator gives memory in *runs*: physically contiguous pieces that are as
//! long as the request and the free memory allow, placed so that the page tables can use the largest pages. Small
//! requests are served from *chunks* (2 MiB) that are already broken, to keep the others whole.
//!
//! Two bits for each 4 KiB frame and two for each chunk, 0.006 % of memory. A set *dirty* bit means that the
//! frame was in use since boot; memory is zero at boot, so most frames never have to be cleared.

use core::ops::Range;

use margay_abi::layout::{HUGE_PAGE, LARGE_PAGE, PAGE};

use crate::bitmap::Bitmap;

const CHUNK_FRAMES: usize = (LARGE_PAGE / PAGE) as usize;
const HUGE_CHUNKS: usize = (HUGE_PAGE / LARGE_PAGE) as usize;

/// Whether freed memory may hold data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Nobody has written to it since it was allocated, or since boot.
    Clean,
    /// It must be cleared before somebody else sees it.
    Dirty,
}

/// A contiguous piece of physical memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Guest-physical address of its first byte.
    pub gpa: u64,
    /// Its length.
    pub bytes: u64,
}

/// The allocator of physical frames.
#[derive(Debug)]
pub struct Frames {
    /// By frame: it is free.
    free: Bitmap,
    /// By frame: it may hold data.
    dirty: Bitmap,
    /// By chunk: all its frames are free.
    whole: Bitmap,
    /// By chunk: some of its frames are free, but not all.
    partial: Bitmap,
    free_frames: usize,
}

impl Frames {
    /// An allocator for physical memory from 0 to `memory_bytes`, all of it in use.
    pub fn new(memory_bytes: u64) -> Frames {
        let frames = (memory_bytes / PAGE) as usize;
        let chunks = frames.div_ceil(CHUNK_FRAMES);
        Frames {
            free: Bitmap::new(frames),
            dirty: Bitmap::new(frames),
            whole: Bitmap::new(chunks),
            partial: Bitmap::new(chunks),
            free_frames: 0,
        }
    }

    /// Bytes that are free.
    pub const fn free_bytes(&self) -> u64 {
        self.free_frames as u64 * PAGE
    }

    /// Makes `[gpa, gpa + bytes)` free. Both are multiples of [`PAGE`].
    ///
    /// # Panics
    /// If part of it is free already or outside the memory: the memory would be given out twice.
    pub fn free(&mut self, gpa: u64, bytes: u64, left: Use) {
        let range = frames_of(gpa, bytes);
        assert_eq!(
            self.free.count(range.clone()),
            0,
            "double free of {bytes:#x} bytes at {gpa:#x}"
        );
        if left == Use::Dirty {
            self.dirty.set(range.clone());
        }
        self.free.set(range.clone());
        self.free_frames += range.len();
        self.classify(&range);
    }

    /// Allocates one run of at most `max_bytes` (a nonzero multiple of [`PAGE`]) to be mapped at `virt`;
    /// `None` when there is no memory. A caller that wants more asks again, for the address at which the run
    /// ends.
    ///
    /// At a 2 MiB boundary a large request gets whole chunks. Before one it gets the small piece that leads up to it.
    pub fn alloc_run(&mut self, max_bytes: u64, virt: u64) -> Option<Run> {
        let want = (max_bytes / PAGE) as usize;
        let before_boundary = (virt.next_multiple_of(LARGE_PAGE) - virt) / PAGE;
        let range = if before_boundary == 0 && want >= CHUNK_FRAMES {
            self.find_chunks(want / CHUNK_FRAMES, virt).or_else(|| self.find_small(want))
        } else if before_boundary == 0 {
            self.find_small(want)
        } else {
            self.find_small(want.min(before_boundary as usize))
        }?;
        Some(self.take(range))
    }

    /// Allocates one whole chunk of 2 MiB, aligned to its size.
    pub fn alloc_chunk(&mut self) -> Option<u64> {
        let chunk = self.whole.runs(0..self.whole.len()).next()?.start;
        Some(self.take(chunk * CHUNK_FRAMES..(chunk + 1) * CHUNK_FRAMES).gpa)
    }

    /// The first part of `run` that must be cleared before use.
    pub fn first_dirty(&self, run: Run) -> Option<Run> {
        self.dirty.runs(frames_of(run.gpa, run.bytes)).next().map(|range| run_of(&range))
    }

    /// Finds at most `want` contiguous whole chunks; for 1 GiB or more at a 1 GiB boundary of `virt`, if possible
    /// also at such a boundary of physical memory.
    fn find_chunks(&self, want: usize, virt: u64) -> Option<Range<usize>> {
        let runs = || self.whole.runs(0..self.whole.len());
        let before_boundary = ((virt.next_multiple_of(HUGE_PAGE) - virt) / LARGE_PAGE) as usize;
        let chunks = if before_boundary == 0 && want >= HUGE_CHUNKS {
            let aligned = runs()
                .map(|run| run.start.next_multiple_of(HUGE_CHUNKS)..run.end)
                .filter(|run| run.start + HUGE_CHUNKS <= run.end);
            best(aligned, want).or_else(|| best(runs(), want))
        } else if want >= before_boundary + HUGE_CHUNKS {
            best(runs(), before_boundary)
        } else {
            best(runs(), want)
        }?;
        Some(chunks.start * CHUNK_FRAMES..chunks.end * CHUNK_FRAMES)
    }

    /// Finds at most `want` contiguous frames inside one chunk: where all fit, rather in a broken chunk than
    /// in a whole one, else the longest piece there is.
    fn find_small(&self, want: usize) -> Option<Range<usize>> {
        let pieces = self
            .partial
            .runs(0..self.partial.len())
            .flatten()
            .flat_map(|chunk| self.free.runs(self.chunk_frames(chunk)));
        let broken = best(pieces, want);
        if broken.as_ref().is_some_and(|piece| piece.len() == want) {
            return broken;
        }
        let whole = self.whole.runs(0..self.whole.len()).next();
        let fresh =
            whole.map(|run| run.start * CHUNK_FRAMES).map(|at| at..at + want.min(CHUNK_FRAMES));
        fresh.or(broken)
    }

    fn take(&mut self, range: Range<usize>) -> Run {
        self.free.clear(range.clone());
        self.free_frames -= range.len();
        self.classify(&range);
        run_of(&range)
    }

    /// Brings `whole` and `partial` up to date for the chunks of `frames`.
    fn classify(&mut self, frames: &Range<usize>) {
        for chunk in frames.start / CHUNK_FRAMES..frames.end.div_ceil(CHUNK_FRAMES) {
            let bit = chunk..chunk + 1;
            self.whole.clear(bit.clone());
            self.partial.clear(bit.clone());
            match self.free.count(self.chunk_frames(chunk)) {
                0 => {}
                CHUNK_FRAMES => self.whole.set(bit),
                _ => self.partial.set(bit),
            }
        }
    }

    /// The frames of a chunk; the last chunk may be short.
    fn chunk_frames(&self, chunk: usize) -> Range<usize> {
        chunk * CHUNK_FRAMES..((chunk + 1) * CHUNK_FRAMES).min(self.free.len())
    }
}

/// The first of `runs` that has `want` elements, cut to them, else the longest.
fn best(runs: impl Iterator<Item = Range<usize>>, want: usize) -> Option<Range<usize>> {
    let mut longest: Option<Range<usize>> = None;
    for run in runs {
        if run.len() >= want {
            return Some(run.start..run.start + want);
        }
        if longest.as_ref().is_none_or(|other| other.len() < run.len()) {
            longest = Some(run);
        }
    }
    longest
}

const fn frames_of(gpa: u64, bytes: u64) -> Range<usize> {
    (gpa / PAGE) as usize..((gpa + bytes) / PAGE) as usize
}

const fn run_of(frames: &Range<usize>) -> Run {
    Run { gpa: frames.start as u64 * PAGE, bytes: (frames.end - frames.start) as u64 * PAGE }
}

#[cfg(test)]
mod tests;
