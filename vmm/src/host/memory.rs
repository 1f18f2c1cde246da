//! The host's memory, and how much of it this process may take.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::host::read_line;
use crate::units::Bytes;

/// Capability that lifts the limit on locked memory (`linux/capability.h`).
const CAP_IPC_LOCK: u32 = 14;

/// The host's memory.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MemoryFacts {
    /// All of it.
    pub total: Bytes,
    /// What can be taken now without swapping: `MemAvailable`, or what the control group leaves, if that is less.
    pub available: Bytes,
    /// What the control groups of this process still allow; `None`: no limit.
    pub cgroup_left: Option<Bytes>,
    /// The most that this process may lock; `None`: no limit.
    pub lock_limit: Option<Bytes>,
}

impl MemoryFacts {
    /// Reads them.
    pub fn collect() -> MemoryFacts {
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let cgroup_left = cgroup_left(&cgroup, Path::new("/sys/fs/cgroup"));
        let available = meminfo_field(&meminfo, "MemAvailable").unwrap_or_default();
        MemoryFacts {
            total: meminfo_field(&meminfo, "MemTotal").unwrap_or_default(),
            available: cgroup_left.map_or(available, |left| left.min(available)),
            cgroup_left,
            lock_limit: if may_lock_all(&status) { None } else { lock_limit(&limits) },
        }
    }
}

fn meminfo_field(meminfo: &str, name: &str) -> Option<Bytes> {
    let (_, value) = meminfo.lines().filter_map(|l| l.split_once(':')).find(|(k, _)| *k == name)?;
    value.split_whitespace().next()?.parse().ok().map(Bytes::kib)
}

/// The least that any memory control group of this process leaves, version 1 and 2; a group's limit binds all below it.
fn cgroup_left(cgroup: &str, root: &Path) -> Option<Bytes> {
    let mut least = None;
    for line in cgroup.lines() {
        // "hierarchy:controllers:path"; version 2 has no controllers.
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (base, limit, usage) = match controllers {
            "" => (root.to_owned(), "memory.max", "memory.current"),
            list if list.split(',').any(|controller| controller == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes")
            }
            _ => continue,
        };
        let leaf = base.join(path.trim_start_matches('/'));
        for group in leaf.ancestors().take_while(|group| group.starts_with(&base)) {
            let number = |name| read_line(group.join(name))?.parse::<u64>().ok();
            // Version 1 says "no limit" by a number near the largest; no machine has an EiB.
            let Some(limit) = number(limit).filter(|limit| *limit < 1 << 60) else { continue };
            let left = Bytes(limit.saturating_sub(number(usage).unwrap_or(0)));
            least = Some(least.map_or(left, |least: Bytes| least.min(left)));
        }
    }
    least
}

/// The soft limit of `/proc/self/limits`: "Max locked memory  8388608  8388608  bytes".
fn lock_limit(limits: &str) -> Option<Bytes> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok().map(Bytes)
}

fn may_lock_all(status: &str) -> bool {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    effective.is_some_and(|mask| mask >> CAP_IPC_LOCK & 1 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{MemoryFacts, cgroup_left, lock_limit, may_lock_all, meminfo_field};
    use crate::units::Bytes;

    #[test]
    fn this_host_has_memory() {
        let memory = MemoryFacts::collect();
        assert!(memory.available > Bytes(0) && memory.available <= memory.total);
    }

    #[test]
    fn linux_texts_are_read() {
        let meminfo = "MemTotal:       16 kB\nMemAvailable:    8 kB\n";
        assert_eq!(meminfo_field(meminfo, "MemAvailable"), Some(Bytes::kib(8)));
        assert_eq!(meminfo_field(meminfo, "Mem"), None);
        let limits = "Max processes 1 2 processes\nMax locked memory         8388608              8388608              bytes\n";
        assert_eq!(lock_limit(limits), Some(Bytes::mib(8)));
        assert_eq!(lock_limit("Max locked memory unlimited unlimited bytes"), None);
        assert!(may_lock_all("CapEff:\t0000000000004000\n"));
        assert!(!may_lock_all("CapEff:\t0000000000000000\n"));
    }

    #[test]
    fn the_tightest_control_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(cgroup_left("0::/job/step", root.path()), None);
        write("job/memory.max", "1000\n");
        write("job/memory.current", "400\n");
        write("job/step/memory.max", "max\n");
        assert_eq!(cgroup_left("0::/job/step", root.path()), Some(Bytes(600)));
        write("memory/job/memory.limit_in_bytes", "500\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        let both = "4:cpu:/x\n5:hugetlb,memory:/job\n0::/job/step";
        assert_eq!(cgroup_left(both, root.path()), Some(Bytes(500)));
        assert_eq!(cgroup_left("garbage\n7:memory", root.path()), None);
    }
}
