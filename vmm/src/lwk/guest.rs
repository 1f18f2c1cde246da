//! An LWK, from program to program.
//!
//! Its memory is made once. Each program gets a VM of its own, built beforehand, so that it starts on a freshly booted kernel
//! and a restart takes as long as building a VM: some milliseconds.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use kvm_ioctls::Kvm;
use margay_abi::boot::{BootInfo, Isolation};
use margay_abi::layout;
use margay_abi::time::TimePage;
use margay_protocol::Launch;
use thiserror::Error;
use vmm_sys_util::eventfd::EventFd;

use super::boot::{self, BootError};
use super::clock::{ClockWriter, read_tsc};
use super::log::Log;
use super::remote::Remote;
use super::running::Running;
use super::vcpu::{self, Outcome, Services};
use super::vm::{Vm, VmError};
use crate::affinity;
use crate::memory::{GuestMemory, MemoryError};
use crate::partition::LwkPlan;

/// Why an LWK cannot be made or started.
#[derive(Debug, Error)]
pub enum LwkError {
    /// `/dev/kvm` cannot be opened.
    #[error("cannot open /dev/kvm: {0}; `margay host` says what is missing and how to get it")]
    Kvm(#[source] kvm_ioctls::Error),
    /// The image cannot be opened.
    #[error("cannot open the LWK image {}: {source}", path.display())]
    Image {
        /// The image.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Guest memory.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The VM.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// The guest's initial memory.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Threads, descriptors, random bytes.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl LwkError {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> LwkError {
        move |source| LwkError::System { what, source }
    }
}

/// Whether an LWK times its calls, which costs each two readings of the TSC.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Statistics {
    /// No.
    #[default]
    Off,
    /// Yes.
    On,
}

/// TSC values of the steps of making an LWK.
#[derive(Clone, Copy, Debug)]
pub struct Milestones {
    /// Begin of the making.
    pub start: u64,
    /// Guest memory is there.
    pub memory: u64,
    /// The VM is there.
    pub vm: u64,
    /// A program was asked for.
    pub request: u64,
    /// The program's stand-in is there, and the boot record written.
    pub launch: u64,
}

/// How much longer than its proxy an LWK polls before it halts. Its core has nothing else to do, and many calls that are not
/// quick (a read of a MiB) are shorter than a halt and a wake-up.
const LWK_PATIENCE: u32 = 20;

/// An LWK that can start a program.
#[derive(Debug)]
pub struct Lwk {
    kvm: Kvm,
    plan: LwkPlan,
    image: PathBuf,
    log: Arc<Log>,
    memory: Arc<GuestMemory>,
    tsc_hz: u64,
    vm: Option<Vm>,
    /// Whether memory holds what an earlier boot left.
    dirty: bool,
    milestones: Milestones,
}

impl Lwk {
    /// Makes the first VM, on memory that another LWK of this plan has `used`, or else on memory of its own.
    ///
    /// # Errors
    /// [`LwkError`]
    pub fn new(
        plan: &LwkPlan,
        image: &Path,
        log: &Arc<Log>,
        used: Option<Arc<GuestMemory>>,
    ) -> Result<Lwk, LwkError> {
        let start = read_tsc();
        let dirty = used.is_some();
        let memory = match used {
            Some(memory) => memory,
            None => Arc::new(GuestMemory::new(plan.memory.0, plan.pages.into())?),
        };
        let mut lwk = Lwk {
            kvm: Kvm::new().map_err(LwkError::Kvm)?,
            plan: plan.clone(),
            image: image.to_owned(),
            log: Arc::clone(log),
            memory,
            tsc_hz: 0,
            vm: None,
            dirty,
            milestones: Milestones { start, memory: read_tsc(), vm: 0, request: 0, launch: 0 },
        };
        lwk.rebuild()?;
        Ok(lwk)
    }

    /// Makes a new VM in the place of the old one: a clean kernel, from the image as it is now.
    ///
    /// # Errors
    /// [`LwkError`]; the LWK can be rebuilt later.
    pub fn rebuild(&mut self) -> Result<(), LwkError> {
        self.vm = None;
        if self.dirty {
            self.milestones.start = read_tsc();
            self.milestones.memory = self.milestones.start;
            boot::clear(&self.memory)?;
        }
        let vm = Vm::new(&self.kvm, &self.memory, &mut open(&self.image)?)?;
        self.tsc_hz = vm.tsc_hz();
        self.vm = Some(vm);
        self.milestones.vm = read_tsc();
        self.note_request();
        Ok(())
    }

    /// A program is asked for now: from here on its start is timed.
    pub fn note_request(&mut self) {
        self.milestones.request = read_tsc();
    }

    /// Another image, from the next rebuild on.
    pub fn set_image(&mut self, image: PathBuf) {
        self.image = image;
    }

    /// What it was made from.
    pub fn plan(&self) -> &LwkPlan {
        &self.plan
    }

    /// Its memory.
    pub fn memory(&self) -> &Arc<GuestMemory> {
        &self.memory
    }

    /// Copies of the proxy's two doorbells, kick and wake, of the VM that the next launch will start.
    ///
    /// # Errors
    /// No VM (the last rebuild failed), no descriptors.
    pub fn doorbells(&self) -> Result<(EventFd, EventFd), LwkError> {
        let copy = |bell: &EventFd| bell.try_clone().map_err(LwkError::system("copy an eventfd"));
        let vm = self.vm.as_ref().ok_or_else(no_vm)?;
        Ok((copy(&vm.kick)?, copy(&vm.wake)?))
    }

    /// Starts the program that `launch` describes, whose proxy polls `spin` long before it sleeps. Afterwards the LWK must be
    /// rebuilt.
    ///
    /// # Errors
    /// [`LwkError`]
    pub fn launch(
        &mut self,
        launch: &Launch,
        spin: Duration,
        statistics: Statistics,
    ) -> Result<Running, LwkError> {
        let (kick, wake) = self.doorbells()?;
        let mut clock = ClockWriter::new(self.tsc_hz);
        clock.update(self.memory.shared::<TimePage>(layout::TIME_PAGE));
        let mut info = self.boot_info(launch, spin)?;
        info.collect_stats = u32::from(statistics == Statistics::On);
        boot::write_boot_info(&self.memory, &info)?;
        self.dirty = true;
        self.milestones.launch = read_tsc();

        let services = Services {
            memory: Arc::clone(&self.memory),
            kick: kick.try_clone().map_err(LwkError::system("copy an eventfd"))?,
            log: Arc::clone(&self.log),
            spin_cycles: info.spin_cycles,
        };
        let done = EventFd::new(libc::EFD_CLOEXEC).map_err(LwkError::system("make an eventfd"))?;
        let remote = Remote::default();
        let thread = self.start_thread(services, &done, &remote)?;
        Ok(Running {
            thread,
            done,
            kick,
            wake,
            remote,
            clock,
            memory: Arc::clone(&self.memory),
            image: self.image.clone(),
            milestones: self.milestones,
            tsc_hz: self.tsc_hz,
        })
    }

    fn start_thread(
        &mut self,
        services: Services,
        done: &EventFd,
        remote: &Remote,
    ) -> Result<JoinHandle<Outcome>, LwkError> {
        let core = self.plan.cores[0];
        affinity::check(core).map_err(LwkError::system("bind a thread to the LWK's core"))?;
        let done = done.try_clone().map_err(LwkError::system("copy an eventfd"))?;
        let remote = remote.clone();
        let vm = self.vm.take().ok_or_else(no_vm)?;
        std::thread::Builder::new()
            .name(format!("vcpu-{}", self.plan.name))
            .spawn(move || {
                // The core was checked just before; if it went offline since, the guest runs unpinned rather than not at all.
                let _ = affinity::bind([core]);
                let outcome = vcpu::run(vm, &services, &remote);
                // The counter of an eventfd that is written once cannot overflow.
                let _ = done.write(1);
                outcome
            })
            .map_err(LwkError::system("start the vCPU's thread"))
    }

    fn boot_info(&self, launch: &Launch, spin: Duration) -> Result<BootInfo, LwkError> {
        let plan = &self.plan;
        let args_bytes = boot::write_program_block(&self.memory, launch)?;
        Ok(BootInfo {
            magic: BootInfo::MAGIC,
            version: BootInfo::VERSION,
            isolation: plan.isolation as u32,
            delegation: plan.delegation as u32,
            collect_stats: 0,
            memory_bytes: self.memory.bytes(),
            stack_bytes: plan.stack.0,
            args_bytes,
            argc: launch.args.len() as u32,
            envc: launch.env.len() as u32,
            cores: plan.cores.len() as u32,
            pid: launch.pid,
            ids: launch.ids,
            spin_cycles: cycles(spin * LWK_PATIENCE, self.tsc_hz),
            program_fd: launch.program_fd,
            // A pagetable-based KVM, where fused mode is at home, shows them but faults on their use.
            huge_pages: u32::from(plan.isolation == Isolation::Protected),
            random: random_bytes().map_err(LwkError::system("get random bytes"))?,
            tsc_hz: self.tsc_hz,
            ignored_signals: launch.ignored_signals,
            memory_dirty: u64::from(self.dirty),
        })
    }
}

fn no_vm() -> LwkError {
    let source = io::Error::other("its last rebuild failed");
    LwkError::System { what: "start the LWK", source }
}

fn open(image: &Path) -> Result<File, LwkError> {
    File::open(image).map_err(|source| LwkError::Image { path: image.to_owned(), source })
}

fn cycles(time: Duration, tsc_hz: u64) -> u64 {
    (time.as_nanos() * u128::from(tsc_hz) / 1_000_000_000) as u64
}

fn random_bytes() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    // SAFETY: the kernel writes at most the array's length into it.
    match unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } {
        16 => Ok(bytes),
        _ => Err(io::Error::last_os_error()),
    }
}
