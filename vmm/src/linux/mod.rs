//! One stock Linux guest: a service VM, or the peer that an LWK is compared with.
//!
//! The machine is the least that an unpatched distribution kernel boots on: processors, interrupt controllers and clock are
//! KVM's; a serial port, power switches and a PCI bus of virtio devices are here; ACPI tables say so. Nothing in it is ours
//! alone, and the guest needs no module of ours.
//!
//! ```text
//! LinuxVm::start --> layout --> memory --> boot, acpi --> bus (serial, power, pci: virtio devices)
//!                                                          ^                ^
//!                         vCPU threads, one for each core -+                +- device thread, one for the guest
//! ```
//!
//! A guest is hostile: whatever it writes to registers and memory costs it its own devices at most.

mod acpi;
mod boot;
mod bus;
mod console;
mod cpuid;
mod end;
mod error;
mod events;
mod layout;
mod machine;
mod pci;
mod power;
mod registers;
mod serial;
mod vcpu;
pub mod virtio;
mod vm;

pub use boot::BootError;
pub use console::{Console, ConsoleWriter, Output};
pub use end::LinuxEnd;
pub use error::LinuxError;
pub use layout::LayoutError;
pub use vcpu::{Activity, Mode, Place, VcpuLocation};
pub use vm::{LinuxConfig, LinuxVm};
