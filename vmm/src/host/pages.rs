//! What can back a guest's memory: 2 MiB pages of shared memory on demand, and the pools of hugetlbfs.

use std::fs;

use serde::Serialize;

use crate::host::{collapse, read_line};
use crate::units::Bytes;

const THP: &str = "/sys/kernel/mm/transparent_hugepage";
const POOLS: &str = "/sys/kernel/mm/hugepages";

/// The host's huge-page facilities.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PageFacts {
    /// Whether `MADV_COLLAPSE` really gives a memfd 2 MiB pages: tried.
    pub collapse: bool,
    /// Why not.
    pub collapse_error: Option<String>,
    /// The setting `transparent_hugepage/enabled`.
    pub thp_enabled: Option<String>,
    /// The setting `transparent_hugepage/shmem_enabled`.
    pub thp_shmem_enabled: Option<String>,
    /// Pools of reserved pages. Margay does not use them; shown because they take memory from everybody else.
    pub pools: Vec<HugePool>,
}

/// A pool of hugetlbfs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HugePool {
    /// Size of its pages.
    pub page: Bytes,
    /// How many there are.
    pub total: u64,
    /// How many are free.
    pub free: u64,
}

impl PageFacts {
    /// Tries a collapse and reads the settings.
    pub fn collect() -> PageFacts {
        let tried = collapse::try_collapse();
        PageFacts {
            collapse: tried.is_ok(),
            collapse_error: tried.err().map(|error| error.to_string()),
            thp_enabled: setting("enabled"),
            thp_shmem_enabled: setting("shmem_enabled"),
            pools: collect_pools(),
        }
    }
}

fn setting(name: &str) -> Option<String> {
    read_line(format!("{THP}/{name}")).and_then(|line| chosen(&line))
}

/// The word in brackets of "always [madvise] never".
fn chosen(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

fn collect_pools() -> Vec<HugePool> {
    let pool = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let number = |file| read_line(entry.path().join(file))?.parse().ok();
        let (total, free) = (number("nr_hugepages")?, number("free_hugepages")?);
        Some(HugePool { page: Bytes::kib(kib), total, free })
    };
    let entries = fs::read_dir(POOLS).into_iter().flatten().flatten();
    let mut pools: Vec<HugePool> = entries.filter_map(pool).collect();
    pools.sort_by_key(|pool| pool.page);
    pools
}

#[cfg(test)]
mod tests {
    use super::chosen;

    #[test]
    fn the_chosen_word_is_in_brackets() {
        assert_eq!(chosen("always [madvise] never").as_deref(), Some("madvise"));
        assert_eq!(chosen("always"), None);
    }
}
