//! The signals that this process was told to ignore, as `nohup` and shells do, before Rust's runtime changed any: the
//! program is to inherit them.
//!
//! The runtime ignores SIGPIPE before `main`, so the question is asked earlier, by a constructor.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static IGNORED: AtomicU64 = AtomicU64::new(0);

/// Signals that were ignored at the start: bit `n - 1` for signal `n`.
pub fn ignored_signals() -> u64 {
    IGNORED.load(Relaxed)
}

/// Run by the C library before `main` (System V gABI, "Initialization and Termination Functions").
// SAFETY: the section takes pointers to C functions; this one needs nothing that is set up later.
#[unsafe(link_section = ".init_array")]
#[used]
static CONSTRUCTOR: extern "C" fn() = note_ignored;

extern "C" fn note_ignored() {
    for signal in 1..=64 {
        // SAFETY: asks only; the structure is a local, for which zero is valid.
        let action = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            (libc::sigaction(signal, std::ptr::null(), &mut action) == 0).then_some(action)
        };
        if action.is_some_and(|action| action.sa_sigaction == libc::SIG_IGN) {
            IGNORED.fetch_or(1 << (signal - 1), Relaxed);
        }
    }
}
