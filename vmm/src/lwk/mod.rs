//! One LWK guest on KVM: its VM, its vCPU, what it finds in its memory at boot.

pub mod boot;
pub mod clock;
mod cpu;
pub mod exits;
pub mod vcpu;
pub mod vm;
