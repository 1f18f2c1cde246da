//! The node file: what the user asks for, before it is known what this host can give.
//!
//! [`NodeConfig::parse`] reads TOML into typed choices and collects every mistake of the file in one pass, each with its
//! place and what to write instead. It knows nothing of the host: `"auto"` and fractions stay as written, and
//! [`crate::partition`] resolves them. Each value keeps its place in the file ([`Located`]), so that the partition can point to
//! it too. Paths are taken relative to the node file's directory ([`NodeConfig::locate`]), but programs as a shell would.
//! `images/nodes/example.toml` has every key with its default.

mod keys;
mod mistake;
mod problem;
mod reader;
#[cfg(test)]
mod tests;
mod value;

use std::fs;
use std::path::{self, Path, PathBuf};
use std::time::Duration;

use margay_abi::boot::Delegation;

use crate::units::{Bytes, CoreSet, Fraction};

pub use mistake::{Explain, Mistake, MistakeRecord, NodeFileError, Source, Span};
pub use problem::Problem;

/// A whole node file.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The file, for pointing into it.
    pub source: Source,
    /// The directory of the file, an absolute path where the current one is known.
    pub directory: PathBuf,
    /// `name` of `[node]`: 1 to [`MAX_NAME`] letters, digits, `-` and `_`.
    pub name: String,
    /// `oversubscribe`: whether a core may have several owners.
    pub oversubscribe: bool,
    /// `socket_mode`: permissions of the node's socket, at most 0o777.
    pub socket_mode: u32,
    /// `[service]`.
    pub service: ServiceConfig,
    /// The `[[lwk]]`, at least one, at most [`MAX_LWKS`], each with a name of its own.
    pub lwks: Vec<LwkConfig>,
}

/// `[service]`: the Linux that serves delegated calls.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// `cores`: where the proxies run.
    pub cores: Located<CoreChoice>,
    /// `spin_us`: how long a proxy polls its channel before it sleeps.
    pub spin: Duration,
    /// `kind`, and the keys that belong to it.
    pub kind: ServiceChoice,
}

/// `kind` of `[service]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceChoice {
    /// This host's Linux.
    Host,
    /// A Linux of its own.
    Vm(Box<ServiceVmConfig>),
}

/// The keys of `[service]` that only a service VM has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceVmConfig {
    /// Where the file says `"vm"`.
    pub kind: Span,
    /// `memory`.
    pub memory: Located<MemoryChoice>,
    /// `pages`.
    pub pages: Located<PageChoice>,
    /// `kernel`; `None`: Margay's own.
    pub kernel: Option<Located<PathBuf>>,
    /// `initramfs`, in the order of unpacking; `None`: Margay's own for Margay's own kernel, none for another.
    pub initramfs: Option<Vec<Located<PathBuf>>>,
    /// `cmdline`: appended to the kernel's command line; one line of at most [`MAX_CMDLINE`] bytes.
    pub cmdline: String,
    /// `disk`.
    pub disk: Option<Located<DiskConfig>>,
    /// `net`: the name of a tap device.
    pub net: Option<Located<String>>,
    /// `files`: to be put into the VM's root at the same path; none has a `..`.
    pub files: Vec<Located<PathBuf>>,
    /// `boot_s`: how long it may take until the agent answers; 1 s to an hour.
    pub boot_deadline: Duration,
}

/// `disk`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// The file or block device.
    pub path: PathBuf,
    /// Whether the guest may not write.
    pub read_only: bool,
}

/// `[[lwk]]`: a lightweight kernel and its program.
#[derive(Clone, Debug)]
pub struct LwkConfig {
    /// Where its table begins.
    pub span: Span,
    /// `name`, as a node's.
    pub name: Located<String>,
    /// `cores`.
    pub cores: Located<CoreChoice>,
    /// `memory`.
    pub memory: Located<MemoryChoice>,
    /// `pages`.
    pub pages: Located<PageChoice>,
    /// `isolation`.
    pub isolation: Located<IsolationChoice>,
    /// `delegation`.
    pub delegation: Delegation,
    /// `stack`: size of the program's stack.
    pub stack: Located<Bytes>,
    /// `program`, a path or a name to be looked for in `PATH`.
    pub program: Option<Located<PathBuf>>,
    /// `args`, without the program's name.
    pub args: Vec<String>,
    /// `env`: added to the environment that the program inherits, in the file's order.
    pub env: Vec<(String, String)>,
    /// `image`: the LWK's image; `None`: the one beside the margay executable.
    pub image: Option<Located<PathBuf>>,
    /// `watch_s`: how often the node looks whether the LWK hangs; `None`: never.
    pub watch: Option<Duration>,
}

impl LwkConfig {
    /// Where its name stands, or else its table begins.
    pub fn name_span(&self) -> Span {
        self.name.span.clone().unwrap_or_else(|| self.span.clone())
    }
}

/// A value and where the file says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Its bytes in the file; `None` for a default.
    pub span: Option<Span>,
}

impl<T> Located<T> {
    /// A value that the file does not have.
    pub const fn default_value(value: T) -> Located<T> {
        Located { value, span: None }
    }

    /// Another value at the same place.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: f(self.value), span: self.span }
    }
}

/// Which cores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoreChoice {
    /// `"auto"`.
    Auto,
    /// `"rest"`: all that nobody else has.
    Rest,
    /// These.
    Set(CoreSet),
}

/// How much memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryChoice {
    /// `"auto"`.
    Auto,
    /// `"rest"`: all that nobody else has, but a reserve for this host.
    Rest,
    /// This much.
    Size(Bytes),
    /// This part of what is available.
    Part(Fraction),
}

/// Which pages back the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub enum PageChoice {
    /// 2 MiB where the host can, else 4 KiB and a note.
    #[serde(rename = "auto")]
    Auto,
    /// 2 MiB, or an error.
    #[serde(rename = "2M")]
    Large,
    /// 4 KiB.
    #[serde(rename = "4K")]
    Small,
}

/// How the program and its LWK are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolationChoice {
    /// What suits the host.
    Auto,
    /// LWK at CPL 0.
    Protected,
    /// LWK at CPL 3, beside the program.
    Fused,
}

/// Default of `spin_us`: a few times what it costs to wake a sleeping proxy, so that polling wastes at most a few times the
/// price of sleeping.
pub const DEFAULT_SPIN: Duration = Duration::from_micros(200);
/// Default of `stack`: Linux's usual `ulimit -s`.
pub const DEFAULT_STACK: Bytes = Bytes::mib(8);
/// Default of `watch_s`.
pub const DEFAULT_WATCH: Duration = Duration::from_secs(5);
/// Default of `socket_mode`: the owner only.
pub const DEFAULT_SOCKET_MODE: u32 = 0o600;
/// Default of a service VM's `memory`.
pub const DEFAULT_SERVICE_MEMORY: Bytes = Bytes::mib(512);
/// Default of `boot_s`.
pub const DEFAULT_BOOT_DEADLINE: Duration = Duration::from_secs(60);
/// The most LWKs that a node can have.
pub const MAX_LWKS: usize = 64;
/// Longest name of a node or an LWK, in bytes.
pub const MAX_NAME: usize = 32;
/// Longest `cmdline`, in bytes: Linux on x86 takes 2047 (`COMMAND_LINE_SIZE`), some of which the VMM needs itself.
pub const MAX_CMDLINE: usize = 1536;

impl NodeConfig {
    /// Reads a node file.
    ///
    /// # Errors
    /// [`NodeFileError`] when the file cannot be read, or with all mistakes in it.
    pub fn load(path: &Path) -> Result<NodeConfig, NodeFileError> {
        let bytes = fs::read(path)
            .map_err(|source| NodeFileError::Unreadable { path: path.to_owned(), source })?;
        let text = String::from_utf8(bytes)
            .map_err(|_| NodeFileError::NotText { path: path.to_owned() })?;
        NodeConfig::parse(Source { path: path.to_owned(), text })
    }

    /// Parses a node file's text.
    ///
    /// # Errors
    /// [`NodeFileError::Mistakes`] with all mistakes in it.
    pub fn parse(source: Source) -> Result<NodeConfig, NodeFileError> {
        let keys = match keys::read_node(&source.path, &source.text) {
            Ok(keys) => keys,
            Err(mistakes) => return Err(NodeFileError::Mistakes { source_file: source, mistakes }),
        };
        // Only the empty path has no absolute form, or any path where the current directory is gone.
        let absolute = path::absolute(&source.path).unwrap_or_else(|_| source.path.clone());
        Ok(NodeConfig {
            directory: absolute.parent().unwrap_or(Path::new("")).to_owned(),
            name: keys.node.name,
            oversubscribe: keys.node.oversubscribe,
            socket_mode: keys.node.socket_mode,
            service: keys.service,
            lwks: keys.lwks,
            source,
        })
    }

    /// A path of the node file as it is meant: relative to the file's directory.
    pub fn locate(&self, path: &Path) -> PathBuf {
        self.directory.join(path)
    }

    /// The error for mistakes that were found after parsing.
    pub fn mistaken(&self, mistakes: Vec<Mistake>) -> NodeFileError {
        NodeFileError::Mistakes { source_file: self.source.clone(), mistakes }
    }
}
