//! An LWK while it runs a program, and what is left when the program has ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use margay_abi::layout;
use margay_abi::status::StatusPage;
use vmm_sys_util::eventfd::EventFd;

use super::clock::ClockWriter;
use super::guest::Milestones;
use super::remote::Remote;
use super::vcpu::{End, Outcome};
use crate::memory::GuestMemory;
use crate::report::crash;

/// How long a vCPU may take to come out of the guest to say where it is.
const LOCATE_LIMIT: Duration = Duration::from_millis(500);

/// An LWK that runs a program.
#[derive(Debug)]
pub struct Running {
    pub(super) thread: JoinHandle<Outcome>,
    pub(super) done: EventFd,
    /// Wakes the proxy.
    pub kick: EventFd,
    /// Interrupts the LWK's core.
    pub wake: EventFd,
    /// The vCPU's thread.
    pub remote: Remote,
    /// The writer of its clock page.
    pub clock: ClockWriter,
    /// The LWK's memory.
    pub memory: Arc<GuestMemory>,
    /// The LWK's image.
    pub image: PathBuf,
    pub(super) milestones: Milestones,
    pub(super) tsc_hz: u64,
}

impl Running {
    /// Becomes readable when the vCPU has ended.
    pub fn done(&self) -> &EventFd {
        &self.done
    }

    /// Where it is: registers, backtrace, last calls, in whole lines; or the fault that `program` dies of.
    pub fn report_place(&self, program: &Path) -> String {
        if let Some(report) = crash::fault(&self.memory, program) {
            return report;
        }
        let place = self.remote.locate(LOCATE_LIMIT);
        format!("margay: the LWK:\n{}", crash::place(place.as_ref(), &self.memory, &self.image))
    }

    /// Ends the vCPU if it has not ended by itself.
    pub fn finish(self) -> Finished {
        self.remote.stop(&self.thread);
        let outcome =
            self.thread.join().expect("the vCPU's thread returns its outcome and does not panic");
        Finished {
            outcome,
            memory: self.memory,
            image: self.image,
            milestones: self.milestones,
            tsc_hz: self.tsc_hz,
        }
    }
}

/// What is left of a program's LWK: until it is rebuilt, memory is as the program left it.
#[derive(Debug)]
pub struct Finished {
    /// How the vCPU ended.
    pub outcome: Outcome,
    /// The LWK's memory.
    pub memory: Arc<GuestMemory>,
    /// The LWK's image, for symbols.
    pub image: PathBuf,
    /// How long what took.
    pub milestones: Milestones,
    /// Frequency of the TSC.
    pub tsc_hz: u64,
}

impl Finished {
    /// Whether the LWK or its KVM failed, rather than the program ended or somebody ended it.
    pub fn crashed(&self) -> bool {
        matches!(self.outcome.end, End::Panic | End::Crash(_))
    }

    /// Where it was: as [`Running::report_place`].
    pub fn report_place(&self, program: &Path) -> String {
        crash::fault(&self.memory, program).unwrap_or_else(|| crash::kernel(self))
    }

    /// What the LWK says of itself.
    pub fn status(&self) -> &StatusPage {
        self.memory.shared::<StatusPage>(layout::STATUS_PAGE)
    }
}
