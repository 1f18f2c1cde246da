//! What a test runs in each variant of: how the LWK is kept apart, and how its calls reach Linux.

use std::fmt;

use crate::{Place, place};

/// Names the modes to test, like `fused/queue,fused/hypercall`; `./x test` sets it to what the machine is able to do.
const VARIABLE: &str = "MARGAY_TEST_MODES";

/// An isolation mode and a delegation path, by their names in a node file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mode {
    /// `protected` or `fused`.
    pub isolation: String,
    /// `queue` or `hypercall`.
    pub delegation: String,
}

impl Mode {
    /// All modes to test here.
    ///
    /// # Panics
    /// If `MARGAY_TEST_MODES` is not a list of modes.
    pub fn all() -> Vec<Mode> {
        let list = std::env::var(VARIABLE).unwrap_or_else(|_| "fused/queue,fused/hypercall".into());
        let modes: Option<Vec<Mode>> = list.split(',').map(Mode::parse).collect();
        modes.unwrap_or_else(|| {
            panic!("{VARIABLE}: `{list}` is not like `fused/queue,protected/queue`")
        })
    }

    /// The first mode to test: for what does not depend on the mode.
    pub fn first() -> Mode {
        Mode::all().swap_remove(0)
    }

    /// All modes natively; the first in the virtual node, where a boot takes a second. For what hardly depends on the mode.
    pub fn all_natively() -> Vec<Mode> {
        match place() {
            Place::Native => Mode::all(),
            Place::VirtualNode => vec![Mode::first()],
        }
    }

    /// The first mode of those where the program shares the LWK's privilege, and can play a mad LWK.
    pub fn fused() -> Option<Mode> {
        Mode::all().into_iter().find(|mode| mode.isolation == "fused")
    }

    fn parse(text: &str) -> Option<Mode> {
        let (isolation, delegation) = text.split_once('/')?;
        let known = ["protected", "fused"].contains(&isolation)
            && ["queue", "hypercall"].contains(&delegation);
        known.then(|| Mode { isolation: isolation.into(), delegation: delegation.into() })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.isolation, self.delegation)
    }
}

#[cfg(test)]
mod tests {
    use super::Mode;

    #[test]
    fn only_known_modes_parse() {
        let mode = Mode::parse("protected/hypercall").unwrap();
        assert_eq!(mode.to_string(), "protected/hypercall");
        for bad in ["", "fused", "fused/", "fused/poll", "auto/queue"] {
            assert_eq!(Mode::parse(bad), None, "{bad}");
        }
    }
}
