//! What `/proc` tells about the processes below one of ours.

use std::{fs, time::Duration};

use crate::sys;

/// A line of `/proc/PID/stat`.
struct Stat {
    pid: u32,
    parent: u32,
    cpu_ticks: u64,
}

/// `pid` and all processes below it.
pub fn tree(pid: u32) -> Vec<u32> {
    let all = all();
    let mut tree = vec![pid];
    let mut next = 0;
    while let Some(&parent) = tree.get(next) {
        tree.extend(all.iter().filter(|stat| stat.parent == parent).map(|stat| stat.pid));
        next += 1;
    }
    tree
}

/// CPU time, user and system, that these processes have used so far.
pub fn cpu_time(pids: &[u32]) -> Duration {
    let ticks: u64 = all().iter().filter(|s| pids.contains(&s.pid)).map(|s| s.cpu_ticks).sum();
    Duration::from_secs(ticks) / u32::try_from(sys::ticks_per_second()).expect("a tick is some ms")
}

fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(stat).collect()
}

/// `None` if the process is gone.
fn stat(pid: u32) -> Option<Stat> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse(pid: u32, text: &str) -> Option<Stat> {
    // The name, in parentheses, may hold anything. Fields as in proc(5), the third comes first here.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let parent = u32::try_from(number(4)?).ok()?;
    Some(Stat { pid, parent, cpu_ticks: number(14)? + number(15)? })
}

#[cfg(test)]
mod tests {
    use super::{cpu_time, parse, tree};

    #[test]
    fn names_cannot_confuse() {
        let text = "7 (a) b (c) S 5 7 7 0 -1 4194304 90 0 0 0 11 22 0 0 20 0 1 0 100 1000";
        let stat = parse(7, text).unwrap();
        assert_eq!((stat.parent, stat.cpu_ticks), (5, 33));
    }

    #[test]
    fn children_are_found_and_timed() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let found = tree(std::process::id()).contains(&child.id());
        let time = cpu_time(&[child.id()]);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
        assert!(time.as_millis() < 500, "{time:?}");
    }
}
