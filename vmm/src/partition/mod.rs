//! The partition: what a node file becomes on this host. Who gets which core, how much memory, which mode.
//!
//! [`resolve`] is a pure function of a [`NodeConfig`] and the host's [`Resources`], so that every rule can be tested on hosts that
//! do not exist. It finds all mistakes in one pass, each with its place in the file. Everything that the user did not write
//! himself, and might wonder about, becomes a [`Note`].

mod cores;
mod files;
mod isolation;
mod memory;
mod plan;
mod problem;
pub mod record;
pub mod render;
mod resources;
mod service;
#[cfg(test)]
mod tests;

use std::fmt;

use margay_abi::boot::Isolation;
use margay_abi::layout::LARGE_PAGE;

use crate::config::{Located, LwkConfig, Mistake, NodeConfig, PageChoice, ServiceChoice};
use crate::host::probe::Cpl0;
use crate::units::{Bytes, CoreSet};

use cores::Cores;
use files::Wanted;
use memory::Memory;

pub use files::FileUse;
pub use plan::{DiskPlan, LwkPlan, Partition, ServiceKind, ServicePlan, ServiceVmPlan, check_fits};
pub use problem::PartitionProblem;
pub use resources::{KvmState, Resources};
pub use service::peer;

/// Who has a part of the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The service OS.
    Service,
    /// The LWK of this name.
    Lwk(String),
}

impl Owner {
    fn lwk(lwk: &LwkConfig) -> Owner {
        Owner::Lwk(lwk.name.value.clone())
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Service => write!(f, "the service OS"),
            Owner::Lwk(name) => write!(f, "LWK {name}"),
        }
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
    let cpl0 = keep(cpl0(host), &mut mistakes).flatten();
    let cores = cores::resolve(node, host, &mut notes).map_err(|more| mistakes.extend(more)).ok();
    let memory = memory::resolve(node, host, &mut notes).map_err(|more| mistakes.extend(more)).ok();
    if let ServiceChoice::Vm(vm) = &node.service.kind {
        mistakes.extend(service::check(vm, host, cpl0));
        keep(check_pages(&vm.pages, host, &mut notes), &mut mistakes);
        note_programs(node, &mut notes);
    }
    mistakes.extend(check_files(node, host));
    let mut settings = Vec::new();
    for (number, lwk) in node.lwks.iter().enumerate() {
        let memory = memory.as_ref().map(|memory| memory.lwks[number]);
        let found = Settings::resolve(lwk, (host, cpl0), memory, &mut notes);
        settings.extend(found.map_err(|more| mistakes.extend(more)));
    }
    match (cores, memory) {
        (Some(cores), Some(memory)) if mistakes.is_empty() => {
            Ok(assemble(node, host, (cores, memory, settings), notes))
        }
        _ => {
            mistakes.sort_by_key(|mistake| mistake.span.as_ref().map(|span| span.start));
            Err(mistakes)
        }
    }
}

/// What is known of CPL 0, if somebody needed to know it.
fn cpl0(host: &Resources) -> Result<Option<&Cpl0>, Mistake> {
    match &host.kvm {
        KvmState::Probed(cpl0) => Ok(Some(cpl0)),
        KvmState::NotAsked => Ok(None),
        KvmState::Unusable { reason, hint } => {
            let problem = PartitionProblem::NoKvm { reason: reason.clone(), hint: hint.clone() };
            Err(Mistake::new(None, &problem))
        }
    }
}

/// What each LWK has for itself, whatever the others are.
struct Settings {
    isolation: Isolation,
    isolation_reason: String,
    stack: Bytes,
    pages: PageChoice,
}

impl Settings {
    fn resolve(
        lwk: &LwkConfig,
        (host, cpl0): (&Resources, Option<&Cpl0>),
        memory: Option<Bytes>,
        notes: &mut Vec<Note>,
    ) -> Result<Settings, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let isolation = keep(isolation::resolve(&lwk.isolation, cpl0), &mut mistakes);
        let stack = round_stack(&lwk.stack, notes);
        let stack = keep(memory::check_stack(&lwk.stack, stack, memory), &mut mistakes);
        let pages = keep(check_pages(&lwk.pages, host, notes), &mut mistakes);
        match (isolation, stack, pages) {
            (Some((isolation, isolation_reason)), Some(stack), Some(pages)) => {
                Ok(Settings { isolation, isolation_reason, stack, pages })
            }
            _ => Err(mistakes),
        }
    }
}

/// Puts together what was found, which is complete.
fn assemble(
    node: &NodeConfig,
    host: &Resources,
    (cores, memory, settings): (Cores, Memory, Vec<Settings>),
    notes: Vec<Note>,
) -> Partition {
    let kind = match (&node.service.kind, memory.service) {
        (ServiceChoice::Vm(vm), Some(memory)) => {
            let plan = service::plan(node, vm, host, (&cores.service, memory));
            ServiceKind::Vm(Box::new(plan))
        }
        _ => ServiceKind::Host,
    };
    let lwk =
        |((config, settings), (cores, memory)): ((&LwkConfig, Settings), (CoreSet, Bytes))| {
            LwkPlan {
                name: config.name.value.clone(),
                cores: cores.iter().collect(),
                memory,
                pages: settings.pages,
                isolation: settings.isolation,
                isolation_reason: settings.isolation_reason,
                delegation: config.delegation,
                stack: settings.stack,
                program: config.program.as_ref().map(|program| program.value.clone()),
                args: config.args.clone(),
                env: config.env.clone(),
                image: config.image.as_ref().map(|image| node.locate(&image.value)),
                watch: config.watch,
            }
        };
    let given = cores.lwks.into_iter().zip(memory.lwks);
    Partition {
        name: node.name.clone(),
        socket_mode: node.socket_mode,
        service: ServicePlan { cores: cores.service, spin: node.service.spin, kind },
        lwks: node.lwks.iter().zip(settings).zip(given).map(lwk).collect(),
        notes,
    }
}

/// Takes the value out, or the mistake.
fn keep<T>(result: Result<T, Mistake>, mistakes: &mut Vec<Mistake>) -> Option<T> {
    result.map_err(|mistake| mistakes.push(mistake)).ok()
}

/// The mistakes of files that cannot be used.
fn check_files(node: &NodeConfig, host: &Resources) -> Vec<Mistake> {
    let mistake = |file: Wanted| {
        let why = host.file_faults.get(&(file.path.clone(), file.file_use))?.clone();
        let Wanted { key, path, own, .. } = file;
        Some(Mistake::new(file.span, &PartitionProblem::NoFile { key, path, why, own }))
    };
    Wanted::all(node, &host.install).into_iter().filter_map(mistake).collect()
}

/// A service VM's files are not this host's, so its programs cannot be looked at here.
fn note_programs(node: &NodeConfig, notes: &mut Vec<Note>) {
    if node.lwks.iter().any(|lwk| lwk.program.is_some()) {
        notes.push(Note(
            "programs are files of the service VM: whether they are there and fit is checked when they start"
                .to_owned(),
        ));
    }
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
        (PageChoice::Auto, Some(false)) => {
            let text = "this host has no 2 MiB pages for guest memory: 4 KiB pages, slower at random access";
            let note = Note(text.to_owned());
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        _ => {}
    }
    Ok(asked.value)
}
