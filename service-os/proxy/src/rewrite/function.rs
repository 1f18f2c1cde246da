//! Whether a site can have targets that the sweep does not see.
//!
//! A jump table's entries, or addresses of labels kept in data, are targets that no instruction names. They are
//! of use only to a computed jump in the same function. So the function is traversed, from the nearest entry before the
//! site that something calls, along all direct branches, into split-off cold parts as well: if this reaches the site
//! and meets no computed jump, then the sweep has seen all targets. (C++ landing pads are targets too, but no code
//! falls into them, so none lies within a straight run of code.) What remains is assembly that falls, a few bytes from
//! a `syscall`, into a function whose address only data holds.

use std::collections::HashSet;

use iced_x86::FlowControl;

use super::sweep::{Sweep, Text};
use super::vicinity::Placed;

/// How far before a site its function's entry is looked for, in bytes.
const MAX_DISTANCE: usize = 16 << 10;
/// How many instructions of a function are traversed. Larger functions count as unknown.
const MAX_INSTRUCTIONS: usize = 2048;

/// Does every target in the function around the site at offset `site` stand in the sweep's set? No, if unknown.
pub fn has_only_seen_targets(text: Text<'_>, sweep: &Sweep, site: usize) -> bool {
    let nearest = (site.saturating_sub(MAX_DISTANCE)..=site).rev();
    nearest
        .into_iter()
        .find(|&offset| sweep.entries.contains(offset))
        .and_then(|entry| traverse(text, sweep, entry))
        .is_some_and(|reached| reached.contains(&site))
}

/// The instructions that direct flow reaches from an entry. `None` if it meets a computed jump, something that is no
/// instruction, or too much.
fn traverse(text: Text<'_>, sweep: &Sweep, entry: usize) -> Option<HashSet<usize>> {
    let mut reached = HashSet::new();
    let mut todo = vec![entry];
    while let Some(mut offset) = todo.pop() {
        let mut decoder = text.decoder_at(offset);
        while reached.insert(offset) {
            if !sweep.starts.contains(offset) || reached.len() > MAX_INSTRUCTIONS {
                return None;
            }
            let placed = Placed { offset, instr: decoder.decode() };
            match placed.instr.flow_control() {
                FlowControl::IndirectBranch => return None,
                FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                    // A jump to another function's entry is a tail call.
                    let target = text.offset_of(placed.instr.near_branch_target());
                    todo.extend(target.filter(|&target| !sweep.entries.contains(target)));
                }
                _ => {}
            }
            if !placed.falls_through() {
                break;
            }
            offset = placed.end();
        }
    }
    Some(reached)
}
