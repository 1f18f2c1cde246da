//! A guest's processor: a thread bound to a core, that runs the guest and serves what comes out of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kvm_bindings::{KVM_MP_STATE_HALTED, KVM_MP_STATE_RUNNABLE};
use kvm_ioctls::{VcpuExit, VcpuFd};
use vmm_sys_util::signal::{Killable, SIGRTMIN};

use super::bus::Bus;
use super::end::{EndOnPanic, Ending, LinuxEnd};
use crate::affinity;
use crate::units::CoreId;

/// How long a processor may take to say where it is: it is in the guest, or serves one access.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two signals to a processor: one that arrives just before `KVM_RUN` is lost.
const SIGNAL_PERIOD: Duration = Duration::from_millis(1);

/// Where a processor is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VcpuLocation {
    /// Its index, which is its APIC id.
    pub index: usize,
    /// The core that it is bound to.
    pub core: CoreId,
    /// Where it is; `None` if it did not say so within a second, or has ended.
    pub place: Option<Place>,
}

/// A place in a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Next instruction.
    pub rip: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Physical address of the page tables, with the flags of CR3.
    pub cr3: u64,
    /// Whose code it is.
    pub mode: Mode,
    /// What it does there.
    pub activity: Activity,
}

/// Whose code a processor executes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// The kernel's.
    Kernel,
    /// A program's.
    User,
}

/// What a processor does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// It executes instructions.
    Running,
    /// It waits for an interrupt.
    Halted,
    /// The guest has not started it.
    Offline,
}

/// A question and its answer, between anybody and the processor's thread.
#[derive(Debug, Default)]
struct Inquiry {
    asked: AtomicU64,
    answered: Mutex<(u64, Option<Place>)>,
}

/// A running processor.
#[derive(Debug)]
pub(super) struct Vcpu {
    index: usize,
    core: CoreId,
    inquiry: Arc<Inquiry>,
    thread: JoinHandle<()>,
}

impl Vcpu {
    /// Starts processor `index` on `core`. The signal handler is installed already.
    pub(super) fn start(
        fd: VcpuFd,
        (index, core): (usize, CoreId),
        name: &str,
        bus: Arc<Bus>,
    ) -> std::io::Result<Vcpu> {
        let inquiry = Arc::new(Inquiry::default());
        let shared = Arc::clone(&inquiry);
        let body = move || {
            let _guard = EndOnPanic(&bus.ending);
            if let Err(error) = affinity::bind([core]) {
                let why = format!("cannot bind a processor to core {core}: {error}");
                bus.ending.set(LinuxEnd::Failed(why));
            }
            Runner { fd, index, bus: &bus, inquiry: &shared }.run();
        };
        let thread = std::thread::Builder::new().name(format!("{name}/{index}")).spawn(body)?;
        Ok(Vcpu { index, core, inquiry, thread })
    }

    /// Where it is. Interrupts it for some microseconds.
    pub(super) fn locate(&self) -> VcpuLocation {
        let asked = self.inquiry.asked.fetch_add(1, Ordering::AcqRel) + 1;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && !self.thread.is_finished() {
            let _ = self.thread.kill(SIGRTMIN());
            std::thread::sleep(SIGNAL_PERIOD);
            let answered = self.inquiry.answered.lock().unwrap_or_else(PoisonError::into_inner);
            if answered.0 >= asked {
                return VcpuLocation { index: self.index, core: self.core, place: answered.1 };
            }
        }
        VcpuLocation { index: self.index, core: self.core, place: None }
    }

    /// Waits for its thread, which returns because the guest has ended.
    pub(super) fn join(self) {
        while !self.thread.is_finished() {
            let _ = self.thread.kill(SIGRTMIN());
            std::thread::sleep(SIGNAL_PERIOD);
        }
        // A panic is in the guest's end already.
        let _ = self.thread.join();
    }
}

/// What the thread works on.
struct Runner<'a> {
    fd: VcpuFd,
    index: usize,
    bus: &'a Bus,
    inquiry: &'a Inquiry,
}

impl Runner<'_> {
    fn run(mut self) {
        while !self.ending().is_set() {
            if let Err(end) = self.enter() {
                self.ending().set(end);
            }
            self.answer();
        }
    }

    fn ending(&self) -> &Ending {
        &self.bus.ending
    }

    /// Runs the guest until it comes out once, and serves what it came out for.
    fn enter(&mut self) -> Result<(), LinuxEnd> {
        let failed = match self.fd.run() {
            Ok(VcpuExit::IoIn(port, data)) => {
                self.bus.read_port(port, data);
                return Ok(());
            }
            Ok(VcpuExit::IoOut(port, data)) => {
                self.bus.write_port(port, data);
                return Ok(());
            }
            Ok(VcpuExit::MmioRead(address, data)) => {
                self.bus.read_memory(address, data);
                return Ok(());
            }
            Ok(VcpuExit::MmioWrite(address, data)) => {
                self.bus.write_memory(address, data);
                return Ok(());
            }
            Ok(VcpuExit::Intr | VcpuExit::IrqWindowOpen) => return Ok(()),
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => return Ok(()),
            // Some kernels reset the machine so as a last resort; ours are told to use ACPI.
            Ok(VcpuExit::Shutdown) => "a triple fault".to_owned(),
            Ok(VcpuExit::SystemEvent(kind, _)) => return Err(system_event(kind)),
            failed => describe(failed),
        };
        let place = self.place().map_or(String::new(), |place| format!(" at {:#x}", place.rip));
        Err(LinuxEnd::Failed(format!("processor {}: {failed}{place}", self.index)))
    }

    fn answer(&self) {
        let asked = self.inquiry.asked.load(Ordering::Acquire);
        let mut answered = self.inquiry.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if answered.0 < asked {
            *answered = (asked, self.place());
        }
    }

    /// Where the guest is, for as long as it is out.
    fn place(&self) -> Option<Place> {
        let regs = self.fd.get_regs().ok()?;
        let sregs = self.fd.get_sregs().ok()?;
        let mode = if sregs.cs.selector & 3 == 0 { Mode::Kernel } else { Mode::User };
        let activity = match self.fd.get_mp_state().ok()?.mp_state {
            KVM_MP_STATE_RUNNABLE => Activity::Running,
            KVM_MP_STATE_HALTED => Activity::Halted,
            _ => Activity::Offline,
        };
        Some(Place { rip: regs.rip, rsp: regs.rsp, cr3: sregs.cr3, mode, activity })
    }
}

/// Why a guest cannot go on.
fn describe(exit: Result<VcpuExit<'_>, kvm_ioctls::Error>) -> String {
    match exit {
        Ok(VcpuExit::FailEntry(reason, _)) => {
            format!("this KVM cannot enter the guest (hardware reason {reason:#x})")
        }
        Ok(VcpuExit::InternalError) => {
            "this KVM cannot execute an instruction of the guest".to_owned()
        }
        Ok(other) => format!("KVM left the guest for an unknown reason: {other:?}"),
        Err(error) => format!("KVM_RUN failed: {error}"),
    }
}

/// KVM's own power events (Linux `Documentation/virt/kvm/api.rst`, `KVM_EXIT_SYSTEM_EVENT`).
fn system_event(kind: u32) -> LinuxEnd {
    match kind {
        kvm_bindings::KVM_SYSTEM_EVENT_SHUTDOWN => LinuxEnd::PoweredOff,
        kvm_bindings::KVM_SYSTEM_EVENT_RESET => LinuxEnd::Reset,
        _ => LinuxEnd::Failed(format!("the guest raised system event {kind}")),
    }
}
