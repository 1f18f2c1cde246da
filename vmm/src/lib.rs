//! The VMM: what turns a node file into a running lightweight kernel.
//!
//! Data flows one way: [`config`] reads the node file, [`partition`] resolves it against what [`host`] finds on this
//! machine, [`program`] looks at what is to run; together they are a [`request`]. [`cli`] is the `margay` command over all of it.
//! Everything here returns typed errors; only the command prints and exits.

pub mod affinity;
pub mod bench;
pub mod cli;
pub mod config;
pub mod control;
pub mod exit;
pub mod host;
pub mod inherited;
pub mod linux;
pub mod lwk;
pub mod memory;
pub mod node;
pub mod partition;
pub mod parts;
pub mod program;
pub mod proxy;
pub mod relay;
pub mod report;
pub mod request;
pub mod run;
pub mod service;
pub mod text;
pub mod units;
