//! The node file: what the user asks for, before it is known what this host can give.
//!
//! [`NodeConfig::parse`] reads TOML into typed choices and collects every mistake of the file in one pass, each with its
//! place and what to write instead. It knows nothing of the host: `"auto"` and fractions stay as written, and
//! [`crate::partition`] resolves them. Each value keeps its place in the file ([`Located`]), so that the partition can point to
//! it too. `images/nodes/example.toml` has every key with its default.

mod keys;
mod mistake;
mod problem;
mod reader;
#[cfg(test)]
mod tests;
mod value;

use std::fs;
use std::path::{Path, PathBuf};
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
    /// `[service]`.
    pub service: ServiceConfig,
    /// The one `[[lwk]]`.
    pub lwk: LwkConfig,
}

/// `[service]`: the Linux that serves delegated calls.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// `cores`: where the proxies run.
    pub cores: Located<CoreChoice>,
    /// `spin_us`: how long a proxy polls its channel before it sleeps.
    pub spin: Duration,
}

/// `[[lwk]]`: a lightweight kernel and its program.
#[derive(Clone, Debug)]
pub struct LwkConfig {
    /// `name`, for reports.
    pub name: String,
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
    /// `"rest"`: all but a reserve for the service OS.
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
/// Default of `name`.
pub const DEFAULT_NAME: &str = "lwk0";

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
        match keys::read_node(&source.text) {
            Ok((service, lwk)) => Ok(NodeConfig { source, service, lwk }),
            Err(mistakes) => Err(NodeFileError::Mistakes { source_file: source, mistakes }),
        }
    }

    /// The error for mistakes that were found after parsing.
    pub fn mistaken(&self, mistakes: Vec<Mistake>) -> NodeFileError {
        NodeFileError::Mistakes { source_file: self.source.clone(), mistakes }
    }
}
