//! Who is killed when memory runs out: a proxy, never the agent, without which the node is lost.

use std::fs;

use crate::console::say;

/// This process's own knob.
pub const SCORE: &std::ffi::CStr = c"/proc/self/oom_score_adj";
/// Never.
const NEVER: &str = "-1000";
/// As any other process: what a child writes before it becomes a program. Raising it needs no right.
pub const USUAL: &[u8] = b"0";

/// Exempts the agent. Outside a VM, in tests, it may not.
pub fn exempt() {
    let path = SCORE.to_str().expect("an ASCII path");
    if let Err(error) = fs::write(path, NEVER) {
        say(&format!("the agent may be killed when memory runs out: {error}"));
    }
}
