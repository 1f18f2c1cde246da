//! Who gets which core.
//!
//! Explicit sets are taken as they are. An LWK on `"auto"` gets one core, the highest-numbered that is left, because core 0 is where
//! Linux does its housekeeping; an isolated one before any other. A service OS on `"auto"` gets what is left and not
//! isolated.

use crate::config::{CoreChoice, Located, Mistake, NodeConfig};
use crate::host::advice::auto_core;
use crate::partition::{Note, PartitionProblem, Resources};
use crate::units::CoreSet;

/// The cores of both.
pub(super) struct Cores {
    /// The service OS's.
    pub(super) service: CoreSet,
    /// The LWK's.
    pub(super) lwk: CoreSet,
}

/// Gives out the cores.
pub(super) fn resolve(
    node: &NodeConfig,
    host: &Resources,
    notes: &mut Vec<Note>,
) -> Result<Cores, Vec<Mistake>> {
    let (service, lwk) = (&node.service.cores, &node.lwk.cores);
    let mut mistakes = check_usable(service, host);
    mistakes.extend(check_usable(lwk, host));
    if let (CoreChoice::Set(ours), CoreChoice::Set(theirs)) = (&service.value, &lwk.value) {
        let both = ours.intersection(theirs);
        let twice = |core| Mistake::new(lwk.span.clone(), &PartitionProblem::GivenTwice(core));
        mistakes.extend(both.iter().map(twice));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let usable = &host.cores.usable;
    if usable.len() < 2 {
        return Err(vec![Mistake::new(None, &PartitionProblem::TooFewCores(usable.len()))]);
    }
    let cores = share(&service.value, &lwk.value, host);
    if cores.lwk.is_empty() {
        let problem = PartitionProblem::NoLwkCore(cores.service);
        return Err(vec![Mistake::new(service.span.clone(), &problem)]);
    }
    if cores.service.is_empty() {
        let problem = PartitionProblem::NoServiceCore(cores.lwk);
        return Err(vec![Mistake::new(lwk.span.clone(), &problem)]);
    }
    note(&cores, host, notes);
    Ok(cores)
}

/// The mistakes of an explicit set.
fn check_usable(choice: &Located<CoreChoice>, host: &Resources) -> Vec<Mistake> {
    let CoreChoice::Set(cores) = &choice.value else { return Vec::new() };
    let facts = &host.cores;
    let problem = |core| {
        if !facts.present.contains(core) {
            Some(PartitionProblem::NoSuchCore { core, present: facts.present.clone() })
        } else if !facts.online.contains(core) {
            Some(PartitionProblem::Offline(core))
        } else if !facts.usable.contains(core) {
            Some(PartitionProblem::NotAllowed { core, usable: facts.usable.clone() })
        } else {
            None
        }
    };
    let mistake = |problem| Mistake::new(choice.span.clone(), &problem);
    cores.iter().filter_map(problem).map(mistake).collect()
}

fn share(service: &CoreChoice, lwk: &CoreChoice, host: &Resources) -> Cores {
    let (usable, isolated) = (&host.cores.usable, &host.cores.isolated);
    let named = match service {
        CoreChoice::Set(cores) => cores.clone(),
        CoreChoice::Auto | CoreChoice::Rest => CoreSet::default(),
    };
    let left = usable.difference(&named);
    // The first core that is not isolated stays with a service OS that names none.
    let kept = match named.is_empty() {
        true => usable.difference(isolated).iter().chain(usable.iter()).take(1).collect(),
        false => CoreSet::default(),
    };
    let lwk = match lwk {
        CoreChoice::Set(cores) => cores.clone(),
        CoreChoice::Rest => left.difference(&kept),
        CoreChoice::Auto => auto_core(&left.difference(&kept), isolated).into_iter().collect(),
    };
    let service = match service {
        CoreChoice::Set(cores) => cores.clone(),
        CoreChoice::Auto | CoreChoice::Rest => {
            let rest = usable.difference(&lwk);
            let housekeeping = rest.difference(isolated);
            if housekeeping.is_empty() { rest } else { housekeeping }
        }
    };
    Cores { service, lwk }
}

fn note(cores: &Cores, host: &Resources, notes: &mut Vec<Note>) {
    let facts = &host.cores;
    for core in cores.lwk.iter() {
        let shared = facts.siblings(core).intersection(&cores.service);
        if !shared.is_empty() {
            notes.push(Note(format!(
                "core {core} shares a physical core with {shared} of the service OS: they slow each other down"
            )));
        }
    }
    let first = cores.lwk.iter().next();
    if let Some(first) = first.filter(|_| cores.lwk.len() > 1) {
        notes.push(Note(format!(
            "the program has one thread in this version: it runs on core {first}, the LWK's other cores stay empty"
        )));
    }
    let nodes = facts.numa.iter().filter(|node| !node.cores.intersection(&cores.lwk).is_empty());
    if nodes.count() > 1 {
        notes.push(Note("the LWK's cores lie on several memory nodes".to_owned()));
    }
}
