//! Which isolation mode.

use margay_abi::boot::Isolation;

use crate::config::{IsolationChoice, Located, Mistake};
use crate::host::why_not_protected;
use crate::partition::{KvmState, PartitionProblem, Resources};

/// The mode and why.
pub(super) fn resolve(
    choice: &Located<IsolationChoice>,
    host: &Resources,
) -> Result<(Isolation, String), Mistake> {
    let asked = "the node file asks for it".to_owned();
    let cpl0 = match (&host.kvm, choice.value) {
        (KvmState::Unusable { reason, hint }, _) => {
            let problem = PartitionProblem::NoKvm { reason: reason.clone(), hint: hint.clone() };
            return Err(Mistake::new(None, &problem));
        }
        (_, IsolationChoice::Fused) | (KvmState::NotAsked, _) => {
            return Ok((Isolation::Fused, asked));
        }
        (KvmState::Probed(cpl0), _) => cpl0,
    };
    match (choice.value, cpl0.suits_protected()) {
        (IsolationChoice::Protected, true) => Ok((Isolation::Protected, asked)),
        (IsolationChoice::Protected, false) => {
            let problem = PartitionProblem::NoProtected(why_not_protected(cpl0));
            Err(Mistake::new(choice.span.clone(), &problem))
        }
        (_, true) => Ok((Isolation::Protected, "auto: CPL 0 runs in hardware".to_owned())),
        (_, false) => Ok((Isolation::Fused, format!("auto: {}", why_not_protected(cpl0)))),
    }
}
