//! `margay run`: one program in one LWK, from the request to the exit status.
//!
//! ```text
//! request -> memory -> VM -> proxy (a child) -> boot record -> vCPU thread (LWK's core)
//!                                     \-> control loop (service cores) -> report
//! ```
//!
//! Everything is owned by this process or dies with it: see `docs/architecture.md`, "Ends and failures".

pub(crate) mod affinity;
mod control;
mod crash;
mod figures;
mod inherited;
mod parts;
mod proxy;
mod symbols;

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use kvm_ioctls::Kvm;
use margay_abi::boot::{BootInfo, Isolation};
use margay_abi::layout;
use margay_abi::status::{Fault, StatusPage};
use margay_abi::time::TimePage;
use thiserror::Error;
use vmm_sys_util::eventfd::EventFd;

use crate::config::PageChoice;
use crate::exit::Exit;
use crate::lwk::boot::{self, BootError, ProgramStrings};
use crate::lwk::clock::{self, ClockWriter};
use crate::lwk::vcpu::{self, End, Outcome, Services, Stopper};
use crate::lwk::vm::{Vm, VmError};
use crate::memory::{Backing, GuestMemory, MemoryError, PageRequest};
use crate::request::{Report, RunRequest};

use control::{Control, Ended};
use figures::Milestones;
use parts::Parts;
use proxy::Proxy;

/// How long a proxy may take to end after its LWK has.
const PROXY_DEADLINE: Duration = Duration::from_secs(5);

/// Why a program could not be run, or not to its end.
#[derive(Debug, Error)]
pub enum RunError {
    /// A part of Margay is missing.
    #[error("{0}")]
    Parts(#[from] parts::PartsError),
    /// `/dev/kvm` cannot be opened.
    #[error("cannot open /dev/kvm: {0}; `margay host` says what is missing and how to get it")]
    Kvm(#[source] kvm_ioctls::Error),
    /// Guest memory.
    #[error("{0}")]
    Memory(#[from] MemoryError),
    /// The VM.
    #[error("{0}")]
    Vm(#[from] VmError),
    /// The guest's initial memory.
    #[error("{0}")]
    Boot(#[from] BootError),
    /// The proxy.
    #[error("cannot start the proxy: {0}")]
    Proxy(#[source] io::Error),
    /// Threads, signals, event loop.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// The event loop.
    #[error("the control loop failed: {0}")]
    Control(#[from] event_manager::Error),
    /// The LWK or its KVM failed; the report was printed.
    #[error("the LWK ended abnormally")]
    Crashed,
    /// The LWK ended but its proxy does not.
    #[error("the LWK has ended but its proxy, process {0}, did not within 5 s; it was killed")]
    ProxyStuck(u32),
}

impl RunError {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> RunError {
        move |source| RunError::System { what, source }
    }
}

/// Runs the program of `request` to its end and returns how it ended. Prints failures, and what `request.report` asks
/// for, on standard error.
///
/// # Errors
/// [`RunError`], where Margay or the host failed and not the program.
pub fn execute(request: &RunRequest) -> Result<Exit, RunError> {
    let mut milestones = Milestones::start();
    let node = Running::start(request, &mut milestones)?;
    let end = node.control();
    let finished = node.finish(end, request)?;
    finished.report(request, &milestones)
}

/// How much longer than its proxy an LWK polls before it halts. Its core has nothing else to do, and many calls that are not
/// quick (a read of a MiB) are shorter than a halt and a wake-up.
const LWK_PATIENCE: u32 = 20;

/// A running LWK with its proxy.
struct Running {
    memory: Arc<GuestMemory>,
    proxy: Proxy,
    vcpu: JoinHandle<Outcome>,
    vcpu_done: EventFd,
    kick: EventFd,
    stopper: Stopper,
    signals: control::SignalFd,
    clock: ClockWriter,
    parts: Parts,
    tsc_hz: u64,
}

impl Running {
    fn start(request: &RunRequest, milestones: &mut Milestones) -> Result<Running, RunError> {
        let partition = &request.partition;
        let parts = Parts::find()?;
        let signals = control::SignalFd::new().map_err(RunError::system("take signals"))?;
        vcpu::install_stop_signal().map_err(RunError::system("install a signal handler"))?;
        affinity::bind(partition.service.cores.iter())
            .map_err(RunError::system("bind to the service cores"))?;

        let kvm = Kvm::new().map_err(RunError::Kvm)?;
        let memory = Arc::new(GuestMemory::new(partition.lwks[0].memory.0, pages(request))?);
        if let Backing::Fallback(why) = memory.backing() {
            eprintln!(
                "margay: note: guest memory is on 4 KiB pages, slower at random access: the host gave no 2 MiB pages ({why})"
            );
        }
        milestones.memory_ready();
        let vm = Vm::new(&kvm, &memory, &mut parts.open_lwk()?)?;
        let tsc_hz = vm.tsc_hz();
        let mut clock = ClockWriter::new(tsc_hz);
        clock.update(memory.shared::<TimePage>(layout::TIME_PAGE));
        milestones.vm_ready();

        let proxy = Proxy::spawn(&parts, request, &memory, &vm).map_err(RunError::Proxy)?;
        let info = boot_info(request, &memory, &proxy, tsc_hz)?;
        boot::write_boot_info(&memory, &info)?;
        milestones.proxy_ready();

        let vcpu_done =
            EventFd::new(libc::EFD_CLOEXEC).map_err(RunError::system("make an eventfd"))?;
        let kick = vm.kick.try_clone().map_err(RunError::system("copy an eventfd"))?;
        let stopper = Stopper::new();
        let vcpu = start_vcpu(vm, request, &memory, &info, &vcpu_done, &stopper)?;
        Ok(Running { memory, proxy, vcpu, vcpu_done, kick, stopper, signals, clock, parts, tsc_hz })
    }

    /// Waits for an end: the LWK's or the proxy's.
    fn control(&self) -> Result<Ended, RunError> {
        let page = self.memory.shared::<TimePage>(layout::TIME_PAGE);
        Control::new(&self.signals, &self.proxy, &self.vcpu_done, &self.clock, page)
            .map_err(RunError::system("set up the control loop"))?
            .run()
            .map_err(RunError::from)
    }

    /// Brings the other side to its end too. After this nothing of the node is left but its memory.
    fn finish(
        mut self,
        ended: Result<Ended, RunError>,
        request: &RunRequest,
    ) -> Result<Finished, RunError> {
        let mut stuck = None;
        let proxy_ended = match ended {
            Ok(Ended::Proxy) => self.proxy.wait(),
            Ok(Ended::Vcpu) if self.expects_exit() => match self.wait_for_proxy() {
                Some(status) => Ok(status),
                None => {
                    stuck = Some(RunError::ProxyStuck(self.proxy.pid()));
                    self.proxy.kill()
                }
            },
            Ok(Ended::Vcpu) | Err(_) => self.proxy.kill(),
        };
        self.stopper.stop(&self.vcpu);
        let outcome =
            self.vcpu.join().expect("the vCPU's thread returns its outcome and does not panic");
        ended?;
        let proxy_status = proxy_ended.map_err(RunError::system("wait for the proxy"))?;
        match stuck {
            Some(error) => Err(error),
            None => Ok(Finished {
                memory: self.memory,
                outcome,
                proxy_status,
                proxy_pid: self.proxy.pid(),
                lwk: self.parts.lwk,
                tsc_hz: self.tsc_hz,
                program: request.program.path.clone(),
            }),
        }
    }

    /// Waits for the end of a proxy that was told to. A mad LWK may not have rung, so this rings once more.
    fn wait_for_proxy(&mut self) -> Option<ExitStatus> {
        // The counter of an eventfd overflows only after 2^64 rings.
        let _ = self.kick.write(1);
        self.proxy.wait_for(PROXY_DEADLINE)
    }

    /// Whether the LWK has told its proxy to end: it shut down, rather than failed. The vCPU's thread has ended.
    fn expects_exit(&self) -> bool {
        let status = self.memory.shared::<StatusPage>(layout::STATUS_PAGE);
        Fault::from_u32(status.fault.load(Relaxed)) != Fault::Kernel
            && self.vcpu_done.read().is_ok_and(|v| v == SHUT_DOWN)
    }
}

/// Value of the vCPU thread's last event: the LWK shut down by itself, or anything else.
const SHUT_DOWN: u64 = 1;
const FAILED: u64 = 2;

fn start_vcpu(
    vm: Vm,
    request: &RunRequest,
    memory: &Arc<GuestMemory>,
    info: &BootInfo,
    done: &EventFd,
    stopper: &Stopper,
) -> Result<JoinHandle<Outcome>, RunError> {
    let kick = vm.kick.try_clone().map_err(RunError::system("copy an eventfd"))?;
    let done = done.try_clone().map_err(RunError::system("copy an eventfd"))?;
    let services = Services { memory: Arc::clone(memory), kick, spin_cycles: info.spin_cycles };
    let core = request.partition.lwks[0].cores[0];
    let stopper = stopper.clone();
    affinity::check(core).map_err(RunError::system("bind a thread to the LWK's core"))?;
    std::thread::Builder::new()
        .name(format!("vcpu-{}", request.partition.lwks[0].name))
        .spawn(move || {
            // The core was checked just before; if it went offline since, the guest runs unpinned rather than not at all.
            let _ = affinity::bind([core]);
            let outcome = vcpu::run(vm, &services, &stopper);
            let value = if outcome.end == End::Shutdown { SHUT_DOWN } else { FAILED };
            // The counter of an eventfd that is written once cannot overflow.
            let _ = done.write(value);
            outcome
        })
        .map_err(RunError::system("start the vCPU's thread"))
}

fn pages(request: &RunRequest) -> PageRequest {
    match request.partition.lwks[0].pages {
        PageChoice::Auto => PageRequest::Auto,
        PageChoice::Large => PageRequest::Large,
        PageChoice::Small => PageRequest::Small,
    }
}

fn boot_info(
    request: &RunRequest,
    memory: &GuestMemory,
    proxy: &Proxy,
    tsc_hz: u64,
) -> Result<BootInfo, RunError> {
    let lwk = &request.partition.lwks[0];
    let strings = ProgramStrings {
        path: request.program.path.as_os_str().as_bytes().to_vec(),
        args: request.argv.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
        env: request
            .env
            .iter()
            .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
            .collect(),
    };
    let args_bytes = boot::write_program_block(memory, &strings)?;
    // SAFETY: these calls only read this process's credentials.
    let ids = unsafe { [libc::getuid(), libc::geteuid(), libc::getgid(), libc::getegid()] };
    Ok(BootInfo {
        magic: BootInfo::MAGIC,
        version: BootInfo::VERSION,
        isolation: lwk.isolation as u32,
        delegation: lwk.delegation as u32,
        collect_stats: u32::from(request.report != Report::Failures),
        memory_bytes: memory.bytes(),
        stack_bytes: lwk.stack.0,
        args_bytes,
        argc: strings.args.len() as u32,
        envc: strings.env.len() as u32,
        cores: lwk.cores.len() as u32,
        pid: proxy.pid(),
        ids,
        spin_cycles: cycles(request.partition.service.spin * LWK_PATIENCE, tsc_hz),
        program_fd: proxy.program_fd() as u32,
        // A pagetable-based KVM, where fused mode is at home, shows them but faults on their use.
        huge_pages: u32::from(lwk.isolation == Isolation::Protected),
        random: random_bytes().map_err(RunError::system("get random bytes"))?,
        tsc_hz,
        ignored_signals: inherited::ignored_signals(),
    })
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

/// What is left of an LWK when everything has ended.
struct Finished {
    memory: Arc<GuestMemory>,
    outcome: Outcome,
    proxy_status: ExitStatus,
    proxy_pid: u32,
    lwk: std::path::PathBuf,
    tsc_hz: u64,
    program: std::path::PathBuf,
}

impl Finished {
    /// Prints what there is to say and turns the end into the command's exit.
    fn report(self, request: &RunRequest, milestones: &Milestones) -> Result<Exit, RunError> {
        let status = self.memory.shared::<StatusPage>(layout::STATUS_PAGE);
        let crashed = matches!(self.outcome.end, End::Panic | End::Crash(_));
        // Ctrl-\, as other run-times have it, asks where the program is and ends it.
        let asked = self.proxy_status.signal() == Some(libc::SIGQUIT);
        if crashed || asked {
            eprint!("{}", crash::kernel(&self.outcome, &self.memory, &self.lwk));
        } else if Fault::from_u32(status.fault.load(Relaxed)) == Fault::Program {
            eprint!("{}", crash::program(status, &self.program));
        } else if let Some(line) =
            crash::signal(self.proxy_status, self.proxy_pid, &self.outcome.end)
        {
            eprintln!("{line}");
        }
        let figures =
            figures::Figures::collect(&self.memory, &self.outcome, milestones, self.tsc_hz);
        match request.report {
            Report::Failures => {}
            Report::Text => eprint!("{figures}"),
            Report::Json => eprintln!("{}", figures.to_json()),
        }
        if crashed { Err(RunError::Crashed) } else { Ok(proxy::exit_of(self.proxy_status)) }
    }
}

/// Host TSC now, for milestones.
fn now() -> u64 {
    clock::read_tsc()
}
