//! What a node, its commands and the agent in a service VM say to each other: types, and how they travel.
//!
//! See `docs/node.md`, "Who says what to whom". Every message is a frame of JSON ([`frame`]): control traffic is rare, and what an
//! operator can read with `socat` he can debug. Nothing of a delegated call goes this way.

pub mod agent;
pub mod frame;
pub mod proxy;
mod text;

pub use text::Text;

use serde::{Deserialize, Serialize};

/// A program that has a stand-in on Linux and waits for its LWK: what the LWK must know to start it. Said by whoever made
/// the proxy: the command on the host, the agent in a service VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The proxy's process id, which is also the program's.
    pub pid: u32,
    /// The program file's descriptor in the proxy.
    pub program_fd: u32,
    /// Real and effective user and group ids: uid, euid, gid, egid.
    pub ids: [u32; 4],
    /// Signals that the program ignores from its start: bit `n - 1` for signal `n`.
    pub ignored_signals: u64,
    /// Where the program was found.
    pub path: Text,
    /// Its arguments, the first as the user named it.
    pub args: Vec<Text>,
    /// Its environment, `NAME=value`.
    pub env: Vec<Text>,
}
