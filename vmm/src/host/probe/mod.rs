//! Finds out what a KVM really does with a guest, by running a tiny one.
//!
//! A guest's CPL 0 runs in hardware under VMX or SVM; a pagetable-based KVM runs it in the kernel's instruction
//! emulator, a thousand times slower, and does not virtualize `syscall`. Both answer the same capabilities, so only timing tells.
//! [`probe_cpl0`] is the question that a partition asks (some milliseconds); [`probe_all`] is what `margay host` shows.
//!
//! The guest runs in a thread of its own with a time limit: when it is over, the thread is signalled out of `KVM_RUN`.

mod guest;
mod micro_vm;

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use kvm_ioctls::Kvm;
use serde::Serialize;
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

use guest::{CPL0, CPL3, Snippet};
use micro_vm::MicroVm;

/// What executes a guest's CPL 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The processor.
    Hardware,
    /// KVM's instruction emulator.
    Emulated,
}

/// What CPL 0 is like.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Cpl0 {
    /// What executes it.
    pub engine: Engine,
    /// Time per instruction of a short loop.
    pub ns_per_instruction: f64,
    /// Whether `syscall` at CPL 3 enters CPL 0, as it does on the processor.
    pub syscall_enters: bool,
}

impl Cpl0 {
    /// Whether an LWK at CPL 0 can work there.
    pub const fn suits_protected(&self) -> bool {
        matches!(self.engine, Engine::Hardware) && self.syscall_enters
    }
}

/// What a KVM does.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct Behaviour {
    /// CPL 0.
    pub cpl0: Cpl0,
    /// Time per instruction of a short loop at CPL 3.
    pub cpl3_ns_per_instruction: f64,
    /// Whether CPL 3 runs on the processor.
    pub cpl3_native: bool,
    /// Time of `rdtsc` at CPL 3.
    pub rdtsc_ns: f64,
    /// Whether `rdtsc` at CPL 3 runs without leaving the guest.
    pub rdtsc_native: bool,
    /// Median time of `out` at CPL 0 to the VMM and back.
    pub exit_cpl0_ns: f64,
    /// Median time of `out` at CPL 3 to the VMM and back.
    pub exit_cpl3_ns: f64,
}

/// Why nothing could be found out.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// A request to KVM failed.
    #[error("the KVM here refuses to {0}: {1}")]
    Kvm(&'static str, #[source] kvm_ioctls::Error),
    /// No memory for the guest.
    #[error("cannot get memory for a probe guest")]
    Memory,
    /// No thread for the guest.
    #[error("cannot start a thread for a probe guest: {0}")]
    Thread(#[source] std::io::Error),
    /// The guest left for an unexpected reason.
    #[error("a probe guest ended with {0} instead of reporting back")]
    Unexpected(String),
    /// The guest did not end.
    #[error("a probe guest did not come back within {} ms: this KVM does not run guests properly", LIMIT.as_millis())]
    TimeLimit,
    /// The guest could not even be stopped.
    #[error("a probe guest hangs in KVM_RUN and cannot be interrupted: this KVM is broken")]
    Hung,
}

/// Slower than this is no processor: a hundred times the worst of them, a tenth of the best emulator. The middle of a
/// logarithmic scale between 1 ns (a processor emulated by QEMU) and 1 us.
const EMULATED_NS: f64 = 100.0;
/// `rdtsc` is some 10 ns on the processor, more than a microsecond with an exit, 100 ns under QEMU.
const RDTSC_NATIVE_NS: f64 = 500.0;
/// Time limit of a probe. On the slowest KVM known it needs a tenth.
const LIMIT: Duration = Duration::from_millis(500);
/// How long the guest's thread gets to obey the signal.
const GRACE: Duration = Duration::from_millis(500);

/// Loops of two instructions at CPL 0 to begin with: when emulated, some milliseconds, far above the noise of an exit.
const CPL0_LOOPS: u32 = 1_500;
/// Loops of two instructions where the processor runs them.
const NATIVE_LOOPS: u32 = 20_000;
/// Loops with an `rdtsc`.
const RDTSC_LOOPS: u32 = 1_000;
/// Exits to take the median of.
const EXITS: usize = 65;
/// Repetitions of which the fastest counts.
const REPEATS: usize = 3;

/// What CPL 0 is like here.
///
/// # Errors
/// [`ProbeError`]
pub fn probe_cpl0(kvm: Kvm) -> Result<Cpl0, ProbeError> {
    with_limit(move |deadline| measure_cpl0(&mut MicroVm::new(&kvm, deadline)?))
}

/// Everything.
///
/// # Errors
/// [`ProbeError`]
pub fn probe_all(kvm: Kvm) -> Result<Behaviour, ProbeError> {
    with_limit(move |deadline| {
        let mut vm = MicroVm::new(&kvm, deadline)?;
        let cpl0 = measure_cpl0(&mut vm)?;
        let exit_cpl0_ns = median_exit(&mut vm, CPL0)?;
        let exit_cpl3_ns = median_exit(&mut vm, CPL3)?;
        let per_loop = |vm: &mut MicroVm, snippet, loops| {
            let best = fastest(vm, snippet, CPL3, loops)?;
            Ok::<_, ProbeError>((best - exit_cpl3_ns).max(0.0) / f64::from(loops))
        };
        let cpl3_ns_per_instruction = per_loop(&mut vm, Snippet::Spin, NATIVE_LOOPS)? / 2.0;
        let rdtsc_ns = per_loop(&mut vm, Snippet::ReadTsc, RDTSC_LOOPS)?;
        Ok(Behaviour {
            cpl0,
            cpl3_ns_per_instruction,
            cpl3_native: cpl3_ns_per_instruction < EMULATED_NS,
            rdtsc_ns,
            rdtsc_native: rdtsc_ns < RDTSC_NATIVE_NS,
            exit_cpl0_ns,
            exit_cpl3_ns,
        })
    })
}

/// A short loop tells the engines apart; on the processor only a long one stands out from the exit, and costs no more.
fn measure_cpl0(vm: &mut MicroVm) -> Result<Cpl0, ProbeError> {
    let exit = fastest(vm, Snippet::Spin, CPL0, 1)?;
    let mut per_instruction = |loops: u32| {
        let spin = fastest(vm, Snippet::Spin, CPL0, loops)?;
        Ok::<_, ProbeError>((spin - exit).max(0.0) / (2.0 * f64::from(loops)))
    };
    let short = per_instruction(CPL0_LOOPS)?;
    let (engine, ns_per_instruction) = match short < EMULATED_NS {
        true => (Engine::Hardware, per_instruction(NATIVE_LOOPS)?),
        false => (Engine::Emulated, short),
    };
    Ok(Cpl0 { engine, ns_per_instruction, syscall_enters: syscall_enters(vm)? })
}

/// Makes a `syscall` at CPL 3 and asks the code it leads to for its privilege level. A KVM that does not even lead there ends
/// the guest.
fn syscall_enters(vm: &mut MicroVm) -> Result<bool, ProbeError> {
    match vm.start(Snippet::Syscall, CPL3, 1) {
        Ok((_, code_segment)) => Ok(code_segment & 3 == 0),
        Err(ProbeError::Unexpected(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Shortest time of a snippet in ns, with its one exit.
fn fastest(
    vm: &mut MicroVm,
    snippet: Snippet,
    level: guest::Level,
    loops: u32,
) -> Result<f64, ProbeError> {
    let mut best = Duration::MAX;
    for _ in 0..REPEATS {
        best = best.min(vm.start(snippet, level, loops)?.0);
    }
    Ok(best.as_secs_f64() * 1e9)
}

/// Median time of an exit in ns.
fn median_exit(vm: &mut MicroVm, level: guest::Level) -> Result<f64, ProbeError> {
    vm.start(Snippet::Spin, level, 1)?;
    let mut times = (0..EXITS).map(|_| vm.again()).collect::<Result<Vec<_>, _>>()?;
    times.sort_unstable();
    Ok(times[EXITS / 2].as_secs_f64() * 1e9)
}

/// Runs a probe in a thread, and gets the thread out of `KVM_RUN` when the time is over.
fn with_limit<T: Send + 'static>(
    probe: impl FnOnce(Instant) -> Result<T, ProbeError> + Send + 'static,
) -> Result<T, ProbeError> {
    let refuse = |error| ProbeError::Kvm("be interrupted by a signal", error);
    register_signal_handler(kick_signal(), ignore_signal).map_err(refuse)?;
    let deadline = Instant::now() + LIMIT;
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        // The receiver is gone only when it gave up waiting; then nobody wants the result.
        let _ = sender.send(probe(deadline));
    };
    let name = "kvm-probe".to_owned();
    let thread = thread::Builder::new().name(name).spawn(work).map_err(ProbeError::Thread)?;
    let mut wait = LIMIT;
    while Instant::now() < deadline + GRACE {
        match receiver.recv_timeout(wait) {
            Ok(result) => return result,
            Err(RecvTimeoutError::Disconnected) => break,
            // A signal that arrives just before KVM_RUN is lost, so it is sent until it is obeyed. A thread that has
            // ended is gone, which is as good.
            Err(RecvTimeoutError::Timeout) => {
                let _ = thread.kill(kick_signal());
                wait = Duration::from_millis(10);
            }
        }
    }
    Err(ProbeError::Hung)
}

/// A real-time signal that nothing else here uses.
fn kick_signal() -> libc::c_int {
    SIGRTMIN() + 1
}

/// Does nothing: that the signal has a handler is what makes `KVM_RUN` return.
extern "C" fn ignore_signal(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{CPL3, LIMIT, ProbeError, Snippet, fastest, with_limit};
    use crate::host::open_kvm;
    use crate::host::probe::micro_vm::MicroVm;

    /// Tests of KVM's behaviour need a KVM; without one they say so.
    fn kvm() -> Option<kvm_ioctls::Kvm> {
        open_kvm().inspect_err(|error| println!("skipped: {error}")).ok()
    }

    #[test]
    fn a_probe_agrees_with_itself() {
        let (Some(one), Some(two)) = (kvm(), kvm()) else { return };
        let (short, all) = (super::probe_cpl0(one).unwrap(), super::probe_all(two).unwrap());
        println!("{all:?}");
        assert_eq!(short.engine, all.cpl0.engine);
        assert_eq!(short.syscall_enters, all.cpl0.syscall_enters);
        assert!(all.exit_cpl0_ns > 0.0 && all.exit_cpl3_ns > 0.0);
    }

    #[test]
    fn a_guest_that_does_not_end_is_stopped() {
        let Some(kvm) = kvm() else { return };
        let start = Instant::now();
        let result = with_limit(move |deadline| {
            // 2^32 loops: seconds on any processor.
            let mut vm = MicroVm::new(&kvm, deadline)?;
            (0..100).try_for_each(|_| fastest(&mut vm, Snippet::Spin, CPL3, 0).map(drop))
        });
        assert!(matches!(result, Err(ProbeError::TimeLimit)), "{result:?}");
        assert!(start.elapsed() < LIMIT * 2);
    }
}
