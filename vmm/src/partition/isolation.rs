//! Which isolation mode.

use margay_abi::boot::Isolation;

use crate::config::{IsolationChoice, Located, Mistake};
use crate::host::probe::Cpl0;
use crate::host::why_not_protected;
use crate::partition::PartitionProblem;

/// The mode and why. `cpl0` is `None` where nobody needed to know it.
pub(super) fn resolve(
    choice: &Located<IsolationChoice>,
    cpl0: Option<&Cpl0>,
) -> Result<(Isolation, String), Mistake> {
    let asked = "the node file asks for it".to_owned();
    let Some(cpl0) = cpl0.filter(|_| choice.value != IsolationChoice::Fused) else {
        return Ok((Isolation::Fused, asked));
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
