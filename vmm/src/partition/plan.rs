//! What a node becomes: the types of a [`Partition`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lwk_core::elf;
use margay_abi::boot::{Delegation, Isolation};
use margay_abi::layout::LARGE_PAGE;

use crate::config::PageChoice;
use crate::partition::{LWK_RESERVE, Note, PartitionProblem};
use crate::units::{Bytes, CoreId, CoreSet};

/// A node, resolved.
#[derive(Clone, Debug)]
pub struct Partition {
    /// The node's name: letters, digits, `-` and `_`.
    pub name: String,
    /// Permissions of its socket, at most 0o777.
    pub socket_mode: u32,
    /// The service OS.
    pub service: ServicePlan,
    /// The LWKs in the order of the file, at least one. Their names differ. Unless the node file allows it, nobody's cores are
    /// anybody else's.
    pub lwks: Vec<LwkPlan>,
    /// What the user might wonder about.
    pub notes: Vec<Note>,
}

/// The service OS, resolved.
#[derive(Clone, Debug)]
pub struct ServicePlan {
    /// Where proxies, or a service VM's vCPUs, and the VMM's own threads run. Never empty.
    pub cores: CoreSet,
    /// How long a proxy polls its channel before it sleeps.
    pub spin: Duration,
    /// Which it is.
    pub kind: ServiceKind,
}

/// Which Linux serves the calls.
#[derive(Clone, Debug)]
pub enum ServiceKind {
    /// This host's.
    Host,
    /// One of its own.
    Vm(Box<ServiceVmPlan>),
}

/// A service VM, resolved. All paths are as they can be opened on the host, absolute where the current directory is known.
#[derive(Clone, Debug)]
pub struct ServiceVmPlan {
    /// The cores of its vCPUs, one each, in ascending order; at least one.
    pub cores: Vec<CoreId>,
    /// Its memory: a multiple of a large page.
    pub memory: Bytes,
    /// What is to back it.
    pub pages: PageChoice,
    /// Its kernel; what is in the file is not known yet.
    pub kernel: PathBuf,
    /// What is unpacked into its root, in this order; may be empty.
    pub initramfs: Vec<PathBuf>,
    /// Appended to its command line: one line.
    pub cmdline: String,
    /// Its disk.
    pub disk: Option<DiskPlan>,
    /// The host's tap device behind its network.
    pub net: Option<String>,
    /// Files of this host that it gets at the same path.
    pub files: Vec<PathBuf>,
    /// How long it may take until its agent answers.
    pub boot_deadline: Duration,
}

/// A service VM's disk.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct DiskPlan {
    /// The file or block device.
    pub path: PathBuf,
    /// Whether the guest may not write.
    pub read_only: bool,
}

/// An LWK, resolved.
#[derive(Clone, Debug)]
pub struct LwkPlan {
    /// Its name, for reports.
    pub name: String,
    /// Its cores in ascending order, at least one.
    pub cores: Vec<CoreId>,
    /// Its memory: a multiple of a large page, at least [`MIN_MEMORY`](super::MIN_MEMORY).
    pub memory: Bytes,
    /// What is to back it.
    pub pages: PageChoice,
    /// How program and LWK are kept apart.
    pub isolation: Isolation,
    /// Why so.
    pub isolation_reason: String,
    /// How calls reach the proxy.
    pub delegation: Delegation,
    /// Size of the program's stack: a multiple of a large page.
    pub stack: Bytes,
    /// The program as the node file names it.
    pub program: Option<PathBuf>,
    /// Its arguments, without its name.
    pub args: Vec<String>,
    /// Variables to add to the inherited environment.
    pub env: Vec<(String, String)>,
    /// Its image; `None`: the one beside the margay executable.
    pub image: Option<PathBuf>,
    /// How often to look whether it hangs; `None`: never.
    pub watch: Option<Duration>,
}

impl LwkPlan {
    /// The node file's program and its arguments, if it names one.
    pub fn command(&self) -> Option<Vec<OsString>> {
        let program = self.program.as_ref()?.clone().into_os_string();
        Some([program].into_iter().chain(self.args.iter().map(OsString::from)).collect())
    }

    /// As [`check_fits`].
    ///
    /// # Errors
    /// [`PartitionProblem::TooLittleForProgram`]
    pub fn check_fits(&self, program: &elf::Program) -> Result<(), PartitionProblem> {
        check_fits(program, self.stack, self.memory)
    }
}

/// Makes sure that a program can at least be loaded into an LWK with these amounts. What it allocates later is not known here.
///
/// # Errors
/// [`PartitionProblem::TooLittleForProgram`]
pub fn check_fits(
    program: &elf::Program,
    stack: Bytes,
    memory: Bytes,
) -> Result<(), PartitionProblem> {
    let pages = |segment: &elf::Segment| segment.pages().end - segment.pages().start;
    let image = Bytes(program.segments.iter().map(pages).fold(0, u64::saturating_add));
    let needed = [stack, LWK_RESERVE].iter().fold(image.0, |sum, b| sum.saturating_add(b.0));
    let needed = Bytes(needed).round_up(LARGE_PAGE);
    if needed <= memory {
        return Ok(());
    }
    Err(PartitionProblem::TooLittleForProgram { needed, image, stack, memory })
}
