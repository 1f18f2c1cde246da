//! How much memory each gets: amounts and fractions first, then who says `"auto"`, then who says `"rest"`.

use margay_abi::layout::LARGE_PAGE;

use crate::config::{
    DEFAULT_SERVICE_MEMORY, Located, MemoryChoice, Mistake, NodeConfig, ServiceChoice, Span,
};
use crate::partition::{LWK_RESERVE, MIN_MEMORY, Note, Owner, PartitionProblem, Resources};
use crate::units::Bytes;

/// An LWK's `"auto"`: this much, or its share of half of what remains if that is less.
const AUTO: Bytes = Bytes::gib(1);
/// `"rest"` leaves the host this much at least, for the page cache of delegated reads and for everybody else.
const HOST_RESERVE: Bytes = Bytes::mib(256);
/// And this part of what is available: a sixteenth.
const HOST_PART: u64 = 16;
/// What a stock Linux needs to boot and to run an agent and proxies.
const SERVICE_BASE: Bytes = Bytes::mib(192);
/// Linux keeps a 64th of what it shows as device DAX in page structures: 64 bytes (`struct page`) for each page of 4 KiB.
const PAGE_STRUCTURES: u64 = 64;

/// The memory of all: multiples of a large page that together are at most what is available.
pub(super) struct Memory {
    /// The service VM's; `None` where the host is the service OS, which takes none for itself.
    pub(super) service: Option<Bytes>,
    /// Each LWK's, in the order of the file.
    pub(super) lwks: Vec<Bytes>,
}

/// What one owner asks for.
struct Claim<'n> {
    owner: Owner,
    choice: &'n Located<MemoryChoice>,
    /// Where to point when the choice itself has no place.
    fallback: &'n Span,
}

impl Claim<'_> {
    fn all(node: &NodeConfig) -> Vec<Claim<'_>> {
        let service = match &node.service.kind {
            ServiceChoice::Host => None,
            ServiceChoice::Vm(vm) => {
                Some(Claim { owner: Owner::Service, choice: &vm.memory, fallback: &vm.kind })
            }
        };
        let lwk = |lwk| Claim { owner: Owner::lwk(lwk), choice: &lwk.memory, fallback: &lwk.span };
        service.into_iter().chain(node.lwks.iter().map(lwk)).collect()
    }

    /// The mistake, where the file says how much or else where the owner's table is.
    fn mistake(&self, problem: &PartitionProblem) -> Mistake {
        let span = self.choice.span.clone().unwrap_or_else(|| self.fallback.clone());
        Mistake::new(Some(span), problem)
    }

    /// What does not depend on others.
    fn fixed(&self, available: Bytes) -> Option<Bytes> {
        match (self.choice.value, &self.owner) {
            (MemoryChoice::Size(asked), _) => Some(asked.round_up(LARGE_PAGE)),
            (MemoryChoice::Part(part), _) => Some(part.of(available).round_down(LARGE_PAGE)),
            (MemoryChoice::Auto, Owner::Service) => Some(DEFAULT_SERVICE_MEMORY),
            (MemoryChoice::Auto, Owner::Lwk(_)) | (MemoryChoice::Rest, _) => None,
        }
    }
}

/// Gives out the memory.
pub(super) fn resolve(
    node: &NodeConfig,
    host: &Resources,
    notes: &mut Vec<Note>,
) -> Result<Memory, Vec<Mistake>> {
    let claims = Claim::all(node);
    check_rest(&claims)?;
    let amounts = amounts(&claims, host.available)?;
    let is_vm = matches!(node.service.kind, ServiceChoice::Vm(_));
    let (service, lwks) = amounts.split_at(usize::from(is_vm));
    let mut mistakes = Vec::new();
    for (claim, got) in claims.iter().zip(&amounts).filter(|(c, _)| c.owner != Owner::Service) {
        if *got < MIN_MEMORY {
            let (lwk, available) = (claim.owner.clone(), host.available);
            let problem = PartitionProblem::TooLittleMemory { lwk, got: *got, available };
            mistakes.push(claim.mistake(&problem));
        }
    }
    if let [got] = *service {
        let needed = service_least(lwks);
        if got < needed {
            mistakes.push(claims[0].mistake(&PartitionProblem::SmallService { got, needed }));
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    for (claim, got) in claims.iter().zip(&amounts) {
        note(claim, *got, host.available, notes);
    }
    Ok(Memory { service: service.first().copied(), lwks: lwks.to_vec() })
}

/// The least memory of a service VM that shows these LWKs' memory.
fn service_least(lwks: &[Bytes]) -> Bytes {
    let structures = page_structures(lwks.iter().copied());
    Bytes(SERVICE_BASE.0.saturating_add(structures.0)).round_up(LARGE_PAGE)
}

/// What a service VM needs of its own memory to show that of LWKs.
pub(super) fn page_structures(lwks: impl Iterator<Item = Bytes>) -> Bytes {
    let shared = lwks.fold(0_u64, |sum, lwk| sum.saturating_add(lwk.0));
    Bytes(shared.div_ceil(PAGE_STRUCTURES))
}

/// Everybody's `"rest"` but the first.
fn check_rest(claims: &[Claim<'_>]) -> Result<(), Vec<Mistake>> {
    let mut rest = claims.iter().filter(|claim| claim.choice.value == MemoryChoice::Rest);
    let Some(first) = rest.next() else { return Ok(()) };
    let problem = PartitionProblem::SecondRest { key: "memory", first: first.owner.clone() };
    let mistakes: Vec<Mistake> = rest.map(|claim| claim.mistake(&problem)).collect();
    if mistakes.is_empty() { Ok(()) } else { Err(mistakes) }
}

/// How much each gets; together at most `available`.
fn amounts(claims: &[Claim<'_>], available: Bytes) -> Result<Vec<Bytes>, Vec<Mistake>> {
    let fixed: Vec<Option<Bytes>> = claims.iter().map(|claim| claim.fixed(available)).collect();
    let mut remains = available;
    let mut before = Vec::new();
    for (claim, amount) in claims.iter().zip(&fixed) {
        let Some(amount) = amount else { continue };
        if *amount > remains {
            let asked = match claim.choice.value {
                MemoryChoice::Size(asked) => asked,
                _ => *amount,
            };
            let owner = claim.owner.clone();
            let problem = PartitionProblem::TooMuchMemory { owner, asked, available, before };
            return Err(vec![claim.mistake(&problem)]);
        }
        remains = remains.saturating_sub(*amount);
        before.push((claim.owner.clone(), *amount));
    }
    let is_auto = |claim: &&Claim<'_>| claim.choice.value == MemoryChoice::Auto;
    let autos = claims.iter().filter(is_auto).filter(|c| c.owner != Owner::Service).count() as u64;
    let auto = AUTO.min(Bytes(remains.0 / 2 / autos.max(1))).round_down(LARGE_PAGE);
    remains = remains.saturating_sub(Bytes(auto.0 * autos));
    let reserve = HOST_RESERVE.max(Bytes(available.0 / HOST_PART));
    let rest = remains.saturating_sub(reserve).round_down(LARGE_PAGE);
    let amount = |(claim, fixed): (&Claim<'_>, Option<Bytes>)| match claim.choice.value {
        MemoryChoice::Rest => rest,
        _ => fixed.unwrap_or(auto),
    };
    Ok(claims.iter().zip(fixed).map(amount).collect())
}

fn note(claim: &Claim<'_>, got: Bytes, available: Bytes, notes: &mut Vec<Note>) {
    match (claim.choice.value, &claim.owner) {
        (MemoryChoice::Size(asked), owner) if asked != got => notes.push(Note(format!(
            "{} bytes of memory for {owner} became {got}: whole 2 MiB pages",
            asked.0
        ))),
        (MemoryChoice::Auto, owner @ Owner::Lwk(_)) if got < AUTO => notes.push(Note(format!(
            "memory = \"auto\" of {owner} is its share of half of what is left of the {available} available"
        ))),
        _ => {}
    }
}

/// The stack, if it fits into the memory; memory that could not be resolved is not blamed on the stack.
pub(super) fn check_stack(
    choice: &Located<Bytes>,
    stack: Bytes,
    memory: Option<Bytes>,
) -> Result<Bytes, Mistake> {
    match memory {
        Some(memory) if stack > memory.saturating_sub(LWK_RESERVE) => {
            let problem = PartitionProblem::StackTooLarge { stack, memory };
            Err(Mistake::new(choice.span.clone(), &problem))
        }
        _ => Ok(stack),
    }
}
