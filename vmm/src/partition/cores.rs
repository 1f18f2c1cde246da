//! Who gets which core.
//!
//! Explicit sets are taken as they are. Each LWK on `"auto"` gets one core, the highest-numbered that is left, because core 0 is
//! where Linux does its housekeeping; an isolated one before any other. `"rest"` is what is left after all of them, and a service
//! OS on `"auto"` gets what then is left and not isolated; one core is kept for it. With `oversubscribe`, who finds nothing
//! left shares the core that has the fewest LWKs.

use std::cmp::Reverse;

use crate::config::{CoreChoice, Located, LwkConfig, Mistake, NodeConfig, Span};
use crate::host::advice::auto_core;
use crate::partition::{Note, Owner, PartitionProblem, Resources};
use crate::units::{CoreId, CoreSet};

/// The cores of all. Without `oversubscribe` no two sets have a core in common.
pub(super) struct Cores {
    /// The service OS's.
    pub(super) service: CoreSet,
    /// Each LWK's, in the order of the file.
    pub(super) lwks: Vec<CoreSet>,
}

/// Gives out the cores. All sets of the result have at least one.
pub(super) fn resolve(
    node: &NodeConfig,
    host: &Resources,
    notes: &mut Vec<Note>,
) -> Result<Cores, Vec<Mistake>> {
    let claims = Claim::all(node);
    let mut mistakes: Vec<Mistake> = claims.iter().flat_map(|c| check_usable(c, host)).collect();
    mistakes.extend(check_rest(&claims));
    if !node.oversubscribe {
        mistakes.extend(check_overlaps(&claims));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let usable = host.cores.usable.len();
    let needed = claims.len();
    if usable < if node.oversubscribe { 1 } else { needed } {
        let problem = PartitionProblem::TooFewCores { needed, usable };
        return Err(vec![Mistake::new(None, &problem)]);
    }
    let mut cores = share(node, host);
    if node.oversubscribe {
        fill(&mut cores, &host.cores.usable);
        note_shared(node, &cores, notes);
    } else {
        check_all_have_one(node, &cores)?;
    }
    note(node, &cores, host, notes);
    Ok(cores)
}

/// What one owner asks for.
struct Claim<'n> {
    owner: Owner,
    choice: &'n Located<CoreChoice>,
}

impl Claim<'_> {
    /// The service OS's, then the LWKs'.
    fn all(node: &NodeConfig) -> Vec<Claim<'_>> {
        let service = Claim { owner: Owner::Service, choice: &node.service.cores };
        let lwks = node.lwks.iter().map(|lwk| Claim { owner: Owner::lwk(lwk), choice: &lwk.cores });
        [service].into_iter().chain(lwks).collect()
    }

    /// The named cores, if it names them.
    fn named(&self) -> Option<&CoreSet> {
        named(self.choice)
    }
}

fn named(choice: &Located<CoreChoice>) -> Option<&CoreSet> {
    match &choice.value {
        CoreChoice::Set(cores) => Some(cores),
        CoreChoice::Auto | CoreChoice::Rest => None,
    }
}

/// The mistakes of an explicit set.
fn check_usable(claim: &Claim<'_>, host: &Resources) -> Vec<Mistake> {
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
    let mistake = |problem| Mistake::new(claim.choice.span.clone(), &problem);
    let named = claim.named().into_iter().flat_map(CoreSet::iter);
    named.filter_map(problem).map(mistake).collect()
}

/// Everybody's `"rest"` but the first.
fn check_rest(claims: &[Claim<'_>]) -> Vec<Mistake> {
    let mut rest = claims.iter().filter(|claim| claim.choice.value == CoreChoice::Rest);
    let Some(first) = rest.next() else { return Vec::new() };
    let second = |claim: &Claim<'_>| {
        let problem = PartitionProblem::SecondRest { key: "cores", first: first.owner.clone() };
        Mistake::new(claim.choice.span.clone(), &problem)
    };
    rest.map(second).collect()
}

/// Cores that two owners name, at the place of the second.
fn check_overlaps(claims: &[Claim<'_>]) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (number, second) in claims.iter().enumerate() {
        for first in &claims[..number] {
            let (Some(ours), Some(theirs)) = (first.named(), second.named()) else { continue };
            let cores = ours.intersection(theirs);
            if !cores.is_empty() {
                let owners = [first.owner.clone(), second.owner.clone()];
                let problem = PartitionProblem::GivenTwice { cores, owners };
                mistakes.push(Mistake::new(second.choice.span.clone(), &problem));
            }
        }
    }
    mistakes
}

/// Gives out each core at most once, but for explicit sets; who comes too late gets none.
fn share(node: &NodeConfig, host: &Resources) -> Cores {
    let isolated = &host.cores.isolated;
    let claims = Claim::all(node);
    let taken: CoreSet = claims.iter().filter_map(Claim::named).flat_map(CoreSet::iter).collect();
    let mut free = host.cores.usable.difference(&taken);
    // The first core that is not isolated stays with a service OS that names none.
    let kept: CoreSet = match named(&node.service.cores) {
        Some(_) => CoreSet::default(),
        None => free.difference(isolated).iter().chain(free.iter()).take(1).collect(),
    };
    free = free.difference(&kept);
    let mut one = |choice: &Located<CoreChoice>| match &choice.value {
        CoreChoice::Set(cores) => cores.clone(),
        CoreChoice::Rest => CoreSet::default(),
        CoreChoice::Auto => {
            let core: CoreSet = auto_core(&free, isolated).into_iter().collect();
            free = free.difference(&core);
            core
        }
    };
    let mut lwks: Vec<CoreSet> = node.lwks.iter().map(|lwk| one(&lwk.cores)).collect();
    for (lwk, cores) in node.lwks.iter().zip(&mut lwks) {
        if lwk.cores.value == CoreChoice::Rest {
            *cores = std::mem::take(&mut free);
        }
    }
    let left = kept.union(&free);
    let service = match &node.service.cores.value {
        CoreChoice::Set(cores) => cores.clone(),
        CoreChoice::Rest => left,
        CoreChoice::Auto => {
            let housekeeping = left.difference(isolated);
            if housekeeping.is_empty() { left } else { housekeeping }
        }
    };
    Cores { service, lwks }
}

/// Without a core nobody can run.
fn check_all_have_one(node: &NodeConfig, cores: &Cores) -> Result<(), Vec<Mistake>> {
    let taken = cores.lwks.iter().chain([&cores.service]).flat_map(CoreSet::iter).collect();
    if cores.service.is_empty() {
        let span = node.lwks.iter().rev().find_map(|lwk| lwk.cores.span.clone());
        return Err(vec![Mistake::new(span, &PartitionProblem::NoServiceCore(taken))]);
    }
    let without = node.lwks.iter().zip(&cores.lwks).filter(|(_, cores)| cores.is_empty());
    let mistake = |(lwk, _): (&LwkConfig, _)| {
        let span: Span = lwk.cores.span.clone().unwrap_or_else(|| lwk.span.clone());
        let problem = PartitionProblem::NoLwkCore { lwk: Owner::lwk(lwk), taken: taken.clone() };
        Mistake::new(Some(span), &problem)
    };
    let mistakes: Vec<Mistake> = without.map(mistake).collect();
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

/// Gives who has no core the one with the fewest LWKs; LWKs stay off the service OS's cores if there are others.
fn fill(cores: &mut Cores, usable: &CoreSet) {
    let lwks_on = |lwks: &[CoreSet], core: CoreId| lwks.iter().filter(|l| l.contains(core)).count();
    if cores.service.is_empty() {
        let least = usable.iter().min_by_key(|core| (lwks_on(&cores.lwks, *core), *core));
        cores.service = least.into_iter().collect();
    }
    let others = usable.difference(&cores.service);
    let pool = if others.is_empty() { usable } else { &others };
    for number in 0..cores.lwks.len() {
        if cores.lwks[number].is_empty() {
            let key = |core: &CoreId| (lwks_on(&cores.lwks, *core), Reverse(*core));
            cores.lwks[number] = pool.iter().min_by_key(key).into_iter().collect();
        }
    }
}

/// Says which cores have several owners.
fn note_shared(node: &NodeConfig, cores: &Cores, notes: &mut Vec<Note>) {
    let all = Claim::all(node);
    let owned: Vec<_> = all.iter().zip([&cores.service].into_iter().chain(&cores.lwks)).collect();
    let used: CoreSet = owned.iter().flat_map(|(_, cores)| cores.iter()).collect();
    let mut shared = Vec::new();
    for core in used.iter() {
        let owners: Vec<String> = (owned.iter().filter(|(_, cores)| cores.contains(core)))
            .map(|(claim, _)| claim.owner.to_string())
            .collect();
        if owners.len() > 1 {
            shared.push(format!("core {core} by {}", owners.join(", ")));
        }
    }
    if !shared.is_empty() {
        notes.push(Note(format!(
            "cores are shared: {}; figures taken on this node are void",
            shared.join("; ")
        )));
    }
}

/// Says what makes the cores worse than they look.
fn note(node: &NodeConfig, cores: &Cores, host: &Resources, notes: &mut Vec<Note>) {
    let facts = &host.cores;
    let mut before = vec![(Owner::Service, &cores.service)];
    for (lwk, own) in node.lwks.iter().zip(&cores.lwks) {
        let name = Owner::lwk(lwk);
        for core in own.iter() {
            for (other, theirs) in &before {
                let siblings = facts.siblings(core).intersection(theirs);
                if !siblings.is_empty() {
                    notes.push(Note(format!(
                        "core {core} of {name} shares a physical core with {siblings} of {other}: they slow each other down"
                    )));
                }
            }
        }
        let first = own.iter().next();
        if let Some(first) = first.filter(|_| own.len() > 1) {
            notes.push(Note(format!(
                "the program of {name} has one thread in this version: it runs on core {first}, the LWK's other cores stay empty"
            )));
        }
        let nodes = facts.numa.iter().filter(|node| !node.cores.intersection(own).is_empty());
        if nodes.count() > 1 {
            notes.push(Note(format!("the cores of {name} lie on several memory nodes")));
        }
        before.push((name, own));
    }
}
