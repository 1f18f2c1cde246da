//! Why a host cannot give what a node file asks for.

use std::path::PathBuf;

use crate::config::Explain;
use crate::partition::Owner;
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
    /// Cores for two owners.
    #[error("{} given to both {} and {}", are(cores), owners[0], owners[1])]
    GivenTwice {
        /// The cores.
        cores: CoreSet,
        /// Who names them, in the order of the file's meaning: the service OS before LWKs.
        owners: [Owner; 2],
    },
    /// `"rest"` for two owners.
    #[error("`{key}` cannot be \"rest\" here: {first} has the rest already")]
    SecondRest {
        /// The key.
        key: &'static str,
        /// Who has it.
        first: Owner,
    },
    /// Nothing left to serve calls.
    #[error("no core is left for the service OS: the LWKs have {0}, and that is all there is")]
    NoServiceCore(CoreSet),
    /// Nothing left to run an LWK.
    #[error("no core is left for {lwk}: the others have {taken}, and that is all there is")]
    NoLwkCore {
        /// The LWK.
        lwk: Owner,
        /// What the others have.
        taken: CoreSet,
    },
    /// Fewer cores than owners.
    #[error(
        "too few cores: one for the service OS and one for each LWK make {needed}, but this process may use {usable}"
    )]
    TooFewCores {
        /// How many cores that needs.
        needed: usize,
        /// How many there are.
        usable: usize,
    },
    /// More memory than there is.
    #[error(
        "{asked} of memory for {owner} is more than the {available} that are available{}",
        taken(before)
    )]
    TooMuchMemory {
        /// Who.
        owner: Owner,
        /// What the node file says.
        asked: Bytes,
        /// What there is for all.
        available: Bytes,
        /// Who has how much of it.
        before: Vec<(Owner, Bytes)>,
    },
    /// Less memory than an LWK needs.
    #[error("{got} of memory for {lwk} is less than an LWK needs, {}", super::MIN_MEMORY)]
    TooLittleMemory {
        /// Who.
        lwk: Owner,
        /// What it would get.
        got: Bytes,
        /// What there is for all.
        available: Bytes,
    },
    /// Less memory than a service VM needs.
    #[error(
        "{got} of memory is less than the service OS needs: {needed}, of which a 64th of all LWKs' memory is for Linux's page structures"
    )]
    SmallService {
        /// What it would get.
        got: Bytes,
        /// What it needs.
        needed: Bytes,
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
    /// A service VM on a host that cannot run one.
    #[error("a service OS in a VM cannot run on this host: {0}, and a stock kernel lives there")]
    NoServiceVm(String),
    /// A file that cannot be used.
    #[error("`{key}`: cannot use {}: {why}", path.display())]
    NoFile {
        /// The key that names it, or would.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
        /// Whether it is Margay's own.
        own: bool,
    },
    /// A network device that cannot be used.
    #[error("`net`: cannot use \"{net}\": {why}")]
    NoTap {
        /// The device.
        net: String,
        /// Why not.
        why: String,
    },
    /// KVM cannot be used.
    #[error("no LWK can run here: {reason}")]
    NoKvm {
        /// Why.
        reason: String,
        /// What to do.
        hint: Option<String>,
    },
}

/// The way on where there are too few cores.
const SHARE: &str = "write oversubscribe = true in [node], which lets them share cores, for trying out but not for measuring";

/// "core 1 is" or "cores 1-2 are".
fn are(cores: &CoreSet) -> String {
    if cores.len() == 1 { format!("core {cores} is") } else { format!("cores {cores} are") }
}

/// Who has how much memory already.
fn taken(before: &[(Owner, Bytes)]) -> String {
    let each = |(owner, bytes): &(Owner, Bytes)| format!("{owner} has {bytes}");
    match before {
        [] => String::new(),
        _ => format!(": {}", before.iter().map(each).collect::<Vec<_>>().join(", ")),
    }
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
            PartitionProblem::GivenTwice { .. } => {
                format!("name it in one place only; or {SHARE}")
            }
            PartitionProblem::SecondRest { .. } => {
                "write \"auto\" or an amount here, or there".to_owned()
            }
            PartitionProblem::NoServiceCore(_) => {
                format!("leave at least one core out of the LWKs' `cores`; or {SHARE}")
            }
            PartitionProblem::NoLwkCore { .. } => {
                format!("leave at least one core out of the others' `cores`; or {SHARE}")
            }
            PartitionProblem::TooFewCores { .. } => {
                format!("give this machine (or this job's cpuset) more cores; or {SHARE}")
            }
            PartitionProblem::TooMuchMemory { available, before, .. } => {
                let others = before.iter().fold(0_u64, |sum, (_, b)| sum.saturating_add(b.0));
                match available.saturating_sub(Bytes(others)) {
                    left if left < super::MIN_MEMORY => "leave less to the others".to_owned(),
                    left => {
                        let mib = left.0 >> 20;
                        format!("write at most \"{mib}M\", a fraction as \"1/2\", or \"rest\"")
                    }
                }
            }
            PartitionProblem::TooLittleMemory { available, .. } => format!(
                "write \"16M\" or more; where that is not left, give others less: {available} are available for all"
            ),
            PartitionProblem::SmallService { needed, .. } => {
                format!("write memory = \"{}M\" or more in [service]", needed.0.div_ceil(1 << 20))
            }
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
            PartitionProblem::NoServiceVm(_) => {
                "write kind = \"host\": this Linux serves the calls; or use the virtual node, which has virtual hardware: ./x node -- margay ..."
                    .to_owned()
            }
            PartitionProblem::NoFile { own: true, key, .. } => format!(
                "`./x images` makes Margay's own service OS and puts it beside the margay executable; or name another file by `{key}`"
            ),
            PartitionProblem::NoFile { own: false, .. } => {
                "a path is relative to the node file's directory".to_owned()
            }
            PartitionProblem::NoTap { net, .. } => {
                format!("make it: sudo ip tuntap add dev {net} mode tap user $USER")
            }
            PartitionProblem::NoKvm { hint, .. } => return hint.clone(),
        })
    }
}
