//! What a node says about itself: `ps`, `stat`, and the same as JSON.

use std::sync::atomic::Ordering::Relaxed;
use std::time::SystemTime;

use margay_abi::status::StatusPage;
use serde::{Deserialize, Serialize};

/// A node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// When it came up.
    pub since: SystemTime,
    /// Its service OS.
    pub service: ServiceStatus,
    /// Its LWKs, in the order of the node file.
    pub lwks: Vec<LwkStatus>,
}

/// A service OS.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// "host" or "vm".
    pub kind: String,
    /// Its cores.
    pub cores: String,
    /// Its memory in bytes, if it is a VM.
    pub memory: Option<u64>,
    /// What it is at.
    pub state: ServiceState,
}

/// What a service OS is at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum ServiceState {
    /// It serves.
    Running,
    /// It boots.
    Booting,
    /// It does not answer.
    Hung {
        /// Since when.
        silent_since: SystemTime,
        /// Where its vCPUs are, in whole lines.
        place: String,
    },
    /// It is gone.
    Failed {
        /// Why, with the last lines of its console.
        reason: String,
    },
}

/// An LWK.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LwkStatus {
    /// Its name.
    pub name: String,
    /// What it is at.
    #[serde(flatten)]
    pub state: LwkState,
    /// Its cores.
    pub cores: String,
    /// Its memory in bytes.
    pub memory: u64,
    /// How often it was booted.
    pub boots: u64,
    /// How its last program ended.
    pub last_end: Option<String>,
    /// Counters of the program that runs.
    pub counters: Option<Counters>,
}

/// What an LWK is at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum LwkState {
    /// It has no memory.
    Stopped,
    /// It waits for a program.
    Ready,
    /// Being booted.
    Booting,
    /// It waits for a program's stand-in.
    Starting {
        /// The program and its arguments.
        command: String,
    },
    /// It runs a program.
    Running {
        /// The program and its arguments.
        command: String,
        /// The process that stands for it.
        pid: u32,
        /// When it was asked for.
        since: SystemTime,
    },
    /// It should run a program, and its core takes no interrupts.
    Hung {
        /// The program and its arguments.
        command: String,
        /// The process that stands for it.
        pid: u32,
        /// When it was asked for.
        since: SystemTime,
        /// The last sign of life.
        silent_since: SystemTime,
        /// Where it is, in whole lines.
        place: String,
    },
    /// It cannot be booted.
    Failed {
        /// Why.
        reason: String,
    },
}

/// What an LWK counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// System calls.
    pub calls: u64,
    /// Times its core was halted, waiting for a reply.
    pub halts: u64,
    /// System calls through the slow entry of fused mode.
    pub escapes: u64,
    /// Memory of the program now, in bytes.
    pub used_bytes: u64,
    /// The most it ever used, in bytes.
    pub peak_bytes: u64,
    /// Memory that the LWK keeps for itself, in bytes.
    pub kept_bytes: u64,
}

impl Counters {
    /// Of an LWK's status page. Each is right by itself; they are not of one moment.
    pub fn of(status: &StatusPage) -> Counters {
        Counters {
            calls: status.calls.load(Relaxed),
            halts: status.halts.load(Relaxed),
            escapes: status.escapes.load(Relaxed),
            used_bytes: status.used_bytes.load(Relaxed),
            peak_bytes: status.peak_bytes.load(Relaxed),
            kept_bytes: status.kept_bytes.load(Relaxed),
        }
    }
}
