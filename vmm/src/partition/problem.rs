//! Why a host cannot give what a node file asks for.

use crate::config::Explain;
use crate::units::{Bytes, CoreId, CoreSet};

/// What the host cannot give.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionProblem {
    /// The host does not have the core.
    #[error("there is no core {core} on this host")]
    NoSuchCore {
        /// The core.
        core: CoreId,
        /// Those that it has.
        present: CoreSet,
    },
    /// The core is switched off.
    #[error("core {0} is offline")]
    Offline(CoreId),
    /// This process may not use the core.
    #[error("core {core} is not among the cores that this process may use")]
    NotAllowed {
        /// The core.
        core: CoreId,
        /// Those that it may.
        usable: CoreSet,
    },
    /// A core for two owners.
    #[error("core {0} is given to both the service OS and the LWK")]
    GivenTwice(CoreId),
    /// Nothing left to serve calls.
    #[error("no core is left for the service OS: the LWK has {0}, and that is all there is")]
    NoServiceCore(CoreSet),
    /// Nothing left to run the LWK.
    #[error("no core is left for the LWK: the service OS has {0}, and that is all there is")]
    NoLwkCore(CoreSet),
    /// One core, or none.
    #[error(
        "a node needs two cores, one for the service OS and one for the LWK; there is {0} to use"
    )]
    TooFewCores(usize),
    /// More memory than there is.
    #[error("{asked} of memory is more than the {available} that are available")]
    TooMuchMemory {
        /// What the node file says.
        asked: Bytes,
        /// What there is.
        available: Bytes,
    },
    /// Less memory than an LWK needs.
    #[error("{got} of memory is less than an LWK needs, {}", super::MIN_MEMORY)]
    TooLittleMemory {
        /// What it would get.
        got: Bytes,
        /// What there is.
        available: Bytes,
    },
    /// A stack that does not fit.
    #[error(
        "a stack of {stack} does not fit into {memory} of memory, of which the LWK keeps {}",
        super::LWK_RESERVE
    )]
    StackTooLarge {
        /// The stack.
        stack: Bytes,
        /// The LWK's memory.
        memory: Bytes,
    },
    /// A program that does not fit.
    #[error(
        "the program needs at least {needed} (image {image}, stack {stack}, LWK {}), but the LWK has {memory}",
        super::LWK_RESERVE
    )]
    TooLittleForProgram {
        /// All of it.
        needed: Bytes,
        /// What its segments take.
        image: Bytes,
        /// Its stack.
        stack: Bytes,
        /// The LWK's memory.
        memory: Bytes,
    },
    /// `protected` on a host that cannot.
    #[error("isolation cannot be \"protected\" on this host: {0}")]
    NoProtected(String),
    /// `2M` on a host that cannot.
    #[error("this host cannot back guest memory with 2 MiB pages")]
    NoLargePages,
    /// KVM cannot be used.
    #[error("no LWK can run here: {reason}")]
    NoKvm {
        /// Why.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl Explain for PartitionProblem {
    fn hint(&self) -> Option<String> {
        Some(match self {
            PartitionProblem::NoSuchCore { present, .. } => format!("it has the cores {present}"),
            PartitionProblem::Offline(core) => {
                format!("switch it on: echo 1 | sudo tee /sys/devices/system/cpu/cpu{core}/online")
            }
            PartitionProblem::NotAllowed { usable, .. } => {
                format!(
                    "its affinity or cpuset allows {usable}; ask for those, or change it (taskset, the scheduler's job options)"
                )
            }
            PartitionProblem::GivenTwice(_) => "name it in one place only".to_owned(),
            PartitionProblem::NoServiceCore(_) => {
                "leave at least one core out of the LWK's `cores`".to_owned()
            }
            PartitionProblem::NoLwkCore(_) => {
                "leave at least one core out of the `cores` of [service]".to_owned()
            }
            PartitionProblem::TooFewCores(_) => {
                "give this machine (or this job's cpuset) a second core".to_owned()
            }
            PartitionProblem::TooMuchMemory { available, .. } => {
                let mib = available.0 >> 20;
                format!("write at most \"{mib}M\", a fraction as \"1/2\", or \"rest\"")
            }
            PartitionProblem::TooLittleMemory { got, available } if got >= available => {
                format!("free some memory: only {available} are available")
            }
            PartitionProblem::TooLittleMemory { .. } => "write \"16M\" or more".to_owned(),
            PartitionProblem::StackTooLarge { .. } => {
                "write a smaller `stack` or a larger `memory`".to_owned()
            }
            PartitionProblem::TooLittleForProgram { needed, .. } => {
                format!("write memory = \"{}M\" or more", needed.0.div_ceil(1 << 20))
            }
            PartitionProblem::NoProtected(_) => {
                "write isolation = \"fused\" or \"auto\"; `margay host` shows what was measured"
                    .to_owned()
            }
            PartitionProblem::NoLargePages => {
                "write pages = \"auto\" or \"4K\"; `margay host` shows why".to_owned()
            }
            PartitionProblem::NoKvm { hint, .. } => return hint.clone(),
        })
    }
}
