//! The partition: what a node file becomes on this host. Who gets which core, how much memory, which mode.
//!
//! [`resolve`] is a pure function of a [`NodeConfig`] and the host's [`Resources`], so that every rule can be tested on hosts that
//! do not exist. It finds all mistakes in one pass, each with its place in the file. Everything that the user did not write
//! himself, and might wonder about, becomes a [`Note`].

mod cores;
mod isolation;
mod memory;
mod problem;
pub mod render;
mod resources;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use lwk_core::elf;
use margay_abi::boot::{Delegation, Isolation};
use margay_abi::layout::LARGE_PAGE;

use crate::config::{Located, Mistake, NodeConfig, PageChoice};
use crate::units::{Bytes, CoreId, CoreSet};

pub use problem::PartitionProblem;
pub use resources::{KvmState, Resources};

/// A node, resolved.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Where proxies and the VMM's own threads run. Never empty, and none of them is an LWK's.
    pub service_cores: CoreSet,
    /// How long a proxy polls its channel before it sleeps.
    pub spin: Duration,
    /// The one LWK.
    pub lwk: LwkPlan,
    /// What the user might wonder about.
    pub notes: Vec<Note>,
}

/// An LWK, resolved.
#[derive(Clone, Debug)]
pub struct LwkPlan {
    /// Its name, for reports.
    pub name: String,
    /// Its cores in ascending order, at least one.
    pub cores: Vec<CoreId>,
    /// Its memory: a multiple of a large page, at least [`MIN_MEMORY`].
    pub memory: Bytes,
    /// What is to back it.
    pub pages: PageChoice,
    /// How program and LWK are kept apart.
    pub isolation: Isolation,
    /// Why so.
    pub isolation_reason: String,
    /// How calls reach the proxy.
    pub delegation: Delegation,
    /// Size of the program's stack: a multiple of a large page.
    pub stack: Bytes,
    /// The program as the node file names it.
    pub program: Option<PathBuf>,
    /// Its arguments, without its name.
    pub args: Vec<String>,
    /// Variables to add to the inherited environment.
    pub env: Vec<(String, String)>,
}

impl LwkPlan {
    /// Makes sure that a program can at least be loaded. What it allocates later is not known here.
    ///
    /// # Errors
    /// [`PartitionProblem::TooLittleForProgram`]
    pub fn check_fits(&self, program: &elf::Program) -> Result<(), PartitionProblem> {
        let pages = |segment: &elf::Segment| segment.pages().end - segment.pages().start;
        let image = Bytes(program.segments.iter().map(pages).fold(0, u64::saturating_add));
        let needed =
            [self.stack, LWK_RESERVE].iter().fold(image.0, |sum, b| sum.saturating_add(b.0));
        let needed = Bytes(needed).round_up(LARGE_PAGE);
        if needed <= self.memory {
            return Ok(());
        }
        let (stack, memory) = (self.stack, self.memory);
        Err(PartitionProblem::TooLittleForProgram { needed, image, stack, memory })
    }
}

/// A remark on a partition.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(transparent)]
pub struct Note(pub String);

/// The least memory of an LWK: its image, heap and shared pages (4 MiB), page tables, the smallest stack, and room
/// for a small program.
pub const MIN_MEMORY: Bytes = Bytes::mib(16);
/// Of that, what the LWK keeps for itself and its page tables at the least.
pub const LWK_RESERVE: Bytes = Bytes::mib(8);

/// Resolves a node file on a host.
///
/// # Errors
/// Every [`PartitionProblem`] of it, in the order of the file.
pub fn resolve(node: &NodeConfig, host: &Resources) -> Result<Partition, Vec<Mistake>> {
    let mut mistakes = Vec::new();
    let mut notes = Vec::new();
    let cores = cores::resolve(node, host, &mut notes).map_err(|more| mistakes.extend(more));
    let isolation = keep(isolation::resolve(&node.lwk.isolation, host), &mut mistakes);
    let memory = keep(memory::resolve(&node.lwk.memory, host, &mut notes), &mut mistakes);
    let stack = round_stack(&node.lwk.stack, &mut notes);
    let stack = keep(memory::check_stack(&node.lwk.stack, stack, memory), &mut mistakes);
    let pages = keep(check_pages(&node.lwk.pages, host, &mut notes), &mut mistakes);
    let (Ok(cores), Some((isolation, isolation_reason)), Some(memory), Some(stack), Some(pages)) =
        (cores, isolation, memory, stack, pages)
    else {
        mistakes.sort_by_key(|mistake| mistake.span.as_ref().map(|span| span.start));
        return Err(mistakes);
    };
    let config = &node.lwk;
    Ok(Partition {
        service_cores: cores.service,
        spin: node.service.spin,
        lwk: LwkPlan {
            name: config.name.clone(),
            cores: cores.lwk.iter().collect(),
            memory,
            pages,
            isolation,
            isolation_reason,
            delegation: config.delegation,
            stack,
            program: config.program.as_ref().map(|program| program.value.clone()),
            args: config.args.clone(),
            env: config.env.clone(),
        },
        notes,
    })
}

/// Takes the value out, or the mistake.
fn keep<T>(result: Result<T, Mistake>, mistakes: &mut Vec<Mistake>) -> Option<T> {
    result.map_err(|mistake| mistakes.push(mistake)).ok()
}

fn round_stack(asked: &Located<Bytes>, notes: &mut Vec<Note>) -> Bytes {
    let stack = asked.value.round_up(LARGE_PAGE).max(Bytes(LARGE_PAGE));
    if stack != asked.value {
        notes.push(Note(format!("the stack of {} became {stack}: whole 2 MiB pages", asked.value)));
    }
    stack
}

/// Holds the pages asked for against what the host was seen to do. A run, which has not tried, finds out by itself.
fn check_pages(
    asked: &Located<PageChoice>,
    host: &Resources,
    notes: &mut Vec<Note>,
) -> Result<PageChoice, Mistake> {
    match (asked.value, host.large_pages) {
        (PageChoice::Large, Some(false)) => {
            return Err(Mistake::new(asked.span.clone(), &PartitionProblem::NoLargePages));
        }
        (PageChoice::Auto, Some(false)) => notes.push(Note(
            "this host has no 2 MiB pages for guest memory: 4 KiB pages, slower at random access"
                .to_owned(),
        )),
        _ => {}
    }
    Ok(asked.value)
}
