//! Tries whether a memfd gets 2 MiB pages, in the way that guest memory will ask for them.
//!
//! The settings of `/sys/kernel/mm/transparent_hugepage` do not tell: `MADV_COLLAPSE` (Linux 6.1, `madvise(2)`) works even where
//! they say `never`, and fails where the memory is too fragmented. So take two large pages, collapse them, and look at
//! how they are mapped.

use std::fs;
use std::io;

use margay_abi::layout::LARGE_PAGE;

use crate::memory::{Mapping, sealed_memfd};

/// Bytes to try with.
const TRIED: u64 = 2 * LARGE_PAGE;

/// Why there are no 2 MiB pages.
#[derive(Debug, thiserror::Error)]
pub(super) enum CollapseError {
    /// No memory to try with.
    #[error("cannot get memory to try with: {0}")]
    NoMemory(#[source] io::Error),
    /// The kernel does not know the request.
    #[error("this kernel has no MADV_COLLAPSE for shared memory (Linux 6.1 or newer has)")]
    Unsupported,
    /// The kernel tried and failed.
    #[error("MADV_COLLAPSE failed: {0}")]
    Failed(#[source] io::Error),
    /// It said yes, and the pages are small.
    #[error("MADV_COLLAPSE reports success, but the memory is not mapped by large pages")]
    Pretended,
}

/// Collapses some memory and checks the outcome. About a millisecond.
pub(super) fn try_collapse() -> Result<(), CollapseError> {
    let memory = sealed_memfd(TRIED)
        .and_then(|file| Mapping::new(&file, TRIED))
        .map_err(CollapseError::NoMemory)?;
    memory.collapse().map_err(|error| match error.raw_os_error() {
        Some(libc::EINVAL) => CollapseError::Unsupported,
        _ => CollapseError::Failed(error),
    })?;
    if large_bytes(&memory) >= LARGE_PAGE { Ok(()) } else { Err(CollapseError::Pretended) }
}

/// Bytes of the mapping that page tables map by large pages, from `/proc/self/smaps` (`proc(5)`).
fn large_bytes(memory: &Mapping) -> u64 {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let head = format!("{:x}-", memory.start().addr());
    let fields = smaps.lines().skip_while(|line| !line.starts_with(&head));
    let kib = fields
        .filter_map(|line| line.strip_prefix("ShmemPmdMapped:"))
        .next()
        .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}
