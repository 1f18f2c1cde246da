//! Whose turn it is: "is anything left running" has an answer only for one test at a time.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{Signal, process, sys};

/// How often to look whether something has happened.
pub const LOOK: Duration = Duration::from_millis(2);
/// How long processes may take to disappear after their parent's end.
pub const AFTERMATH: Duration = Duration::from_secs(10);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The right to start processes. While somebody has it, every process below this one is his.
pub struct Turn {
    _guard: MutexGuard<'static, ()>,
}

impl Turn {
    /// Waits for it. From then on orphans below this process become its children.
    pub fn take() -> Turn {
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        sys::adopt_orphans();
        Turn { _guard: guard }
    }

    /// What is left of the processes below this one after [`AFTERMATH`]; returns as soon as nothing is.
    pub fn left_behind(&self) -> Vec<u32> {
        let deadline = Instant::now() + AFTERMATH;
        while sys::has_children() {
            if Instant::now() > deadline {
                return Turn::below();
            }
            thread::sleep(LOOK);
        }
        Vec::new()
    }

    /// Kills every process below this one.
    pub fn kill_all(&self) {
        for pid in Turn::below() {
            sys::send(Signal::Kill, sys::Target::Process(pid));
        }
    }

    fn below() -> Vec<u32> {
        process::tree(std::process::id()).split_off(1)
    }
}
