//! Why a Linux guest cannot be started.

use std::io;

use super::boot::BootError;
use super::layout::LayoutError;
use crate::memory::MemoryError;
use crate::units::CoreId;

/// Why a Linux guest cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LinuxError {
    /// A KVM call failed.
    #[error("{call} failed: {source}; `margay host` shows what this KVM can do")]
    Kvm {
        /// The call.
        call: &'static str,
        /// Why.
        source: kvm_ioctls::Error,
    },
    /// No core, or more than a guest can have.
    #[error("a Linux guest has 1 to {limit} cores here, not {asked}")]
    Cores {
        /// How many were asked for.
        asked: usize,
        /// The most.
        limit: usize,
    },
    /// A core cannot be used.
    #[error("cannot bind a processor of the guest to core {core}: {source}")]
    Core {
        /// The core.
        core: CoreId,
        /// Why not.
        source: io::Error,
    },
    /// More devices than the bus has slots.
    #[error("a Linux guest has at most {limit} devices, not {asked}")]
    Devices {
        /// How many were asked for.
        asked: usize,
        /// The most.
        limit: usize,
    },
    /// The memory cannot be laid out.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The memory cannot be had.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Memory regions overlap.
    #[error("cannot put the guest's memory together: {0}")]
    Regions(#[from] vm_memory::GuestRegionCollectionError),
    /// The kernel cannot be booted.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Threads, descriptors, signals.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl LinuxError {
    pub(super) fn kvm(call: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> LinuxError {
        move |source| LinuxError::Kvm { call, source }
    }

    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> LinuxError {
        move |source| LinuxError::System { what, source }
    }
}
