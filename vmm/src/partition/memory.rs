//! How much memory the LWK gets.

use margay_abi::layout::LARGE_PAGE;

use crate::config::{Located, MemoryChoice, Mistake};
use crate::partition::{LWK_RESERVE, MIN_MEMORY, Note, PartitionProblem, Resources};
use crate::units::Bytes;

/// `"auto"`: this much, or half of what is available if that is less.
const AUTO: Bytes = Bytes::gib(1);
/// `"rest"` leaves the service OS this much at least, for the page cache of delegated reads and for everybody else.
const SERVICE_RESERVE: Bytes = Bytes::mib(256);
/// And this part of what is available: a sixteenth.
const SERVICE_PART: u64 = 16;

/// The LWK's memory in bytes, a multiple of a large page.
pub(super) fn resolve(
    choice: &Located<MemoryChoice>,
    host: &Resources,
    notes: &mut Vec<Note>,
) -> Result<Bytes, Mistake> {
    let available = host.available;
    let memory = match choice.value {
        MemoryChoice::Auto => AUTO.min(Bytes(available.0 / 2)).round_down(LARGE_PAGE),
        MemoryChoice::Rest => {
            let reserve = SERVICE_RESERVE.max(Bytes(available.0 / SERVICE_PART));
            available.saturating_sub(reserve).round_down(LARGE_PAGE)
        }
        MemoryChoice::Part(part) => part.of(available).round_down(LARGE_PAGE),
        MemoryChoice::Size(asked) => asked.round_up(LARGE_PAGE),
    };
    let mistake = |problem| Err(Mistake::new(choice.span.clone(), &problem));
    if memory > available {
        let asked = match choice.value {
            MemoryChoice::Size(asked) => asked,
            _ => memory,
        };
        return mistake(PartitionProblem::TooMuchMemory { asked, available });
    }
    if memory < MIN_MEMORY {
        return mistake(PartitionProblem::TooLittleMemory { got: memory, available });
    }
    match choice.value {
        MemoryChoice::Size(asked) if asked != memory => {
            notes.push(Note(format!(
                "{} bytes of memory became {memory}: whole 2 MiB pages",
                asked.0
            )));
        }
        MemoryChoice::Auto if memory < AUTO => {
            notes.push(Note(format!("memory = \"auto\" is half of the {available} available")));
        }
        _ => {}
    }
    Ok(memory)
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
