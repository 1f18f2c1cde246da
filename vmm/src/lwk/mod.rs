//! One LWK guest on KVM: its VM, its vCPU, what it finds in its memory at boot.

pub mod boot;
pub mod clock;
mod cpu;
pub mod exits;
mod guest;
pub mod log;
pub mod remote;
mod running;
pub mod vcpu;
pub mod vm;

pub use guest::{Lwk, LwkError, Milestones, Statistics};
pub use running::{Finished, Running};
