//! Reaching a vCPU's thread while it is in the guest: to end it, or to ask where it is.
//!
//! A signal takes the thread out of `KVM_RUN`. One that arrives just before `KVM_RUN` is lost, so it is repeated until the thread
//! has obeyed.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kvm_bindings::{kvm_regs, kvm_sregs};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

/// Where a vCPU is.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    /// General registers.
    pub registers: kvm_regs,
    /// Segment and control registers.
    pub system: kvm_sregs,
}

impl Snapshot {
    /// Asks KVM, which answers only to a vCPU that is not running.
    pub fn of(vcpu: &VcpuFd) -> Option<Snapshot> {
        Some(Snapshot { registers: vcpu.get_regs().ok()?, system: vcpu.get_sregs().ok()? })
    }
}

/// A vCPU's thread, from outside.
#[derive(Clone, Debug, Default)]
pub struct Remote(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Linux's id of the thread while it runs the guest, else 0.
    thread: AtomicI32,
    stop: AtomicBool,
    asked: AtomicBool,
    answer: Mutex<Option<Snapshot>>,
    answered: Condvar,
}

/// Time between two signals.
const REPEAT: Duration = Duration::from_millis(1);

impl Remote {
    /// Ends `thread`, which runs [`super::vcpu::run`] with this remote.
    pub fn stop<T>(&self, thread: &JoinHandle<T>) {
        self.0.stop.store(true, Ordering::Release);
        while !thread.is_finished() {
            self.signal();
            std::thread::sleep(REPEAT);
        }
    }

    /// Where the guest is now; it goes on from there. `None` if it does not run, or does not come out within `limit`.
    pub fn locate(&self, limit: Duration) -> Option<Snapshot> {
        let deadline = Instant::now() + limit;
        let mut answer = self.answers();
        *answer = None;
        self.0.asked.store(true, Ordering::Release);
        while answer.is_none() && Instant::now() < deadline && self.signal() {
            let waited = self.0.answered.wait_timeout(answer, REPEAT);
            answer = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        self.0.asked.store(false, Ordering::Release);
        answer.take()
    }

    /// The calling thread is about to run the guest.
    pub(super) fn attach(&self) {
        // SAFETY: returns a number.
        self.0.thread.store(unsafe { libc::gettid() }, Ordering::Release);
    }

    /// The calling thread runs the guest no more.
    pub(super) fn detach(&self) {
        self.0.thread.store(0, Ordering::Release);
    }

    pub(super) fn stop_requested(&self) -> bool {
        self.0.stop.load(Ordering::Acquire)
    }

    /// Answers a question, if there is one.
    pub(super) fn answer(&self, place: impl FnOnce() -> Option<Snapshot>) {
        if self.0.asked.swap(false, Ordering::AcqRel) {
            *self.answers() = place();
            self.0.answered.notify_all();
        }
    }

    fn answers(&self) -> MutexGuard<'_, Option<Snapshot>> {
        self.0.answer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signals the thread. Whether it runs the guest.
    fn signal(&self) -> bool {
        let thread = self.0.thread.load(Ordering::Acquire);
        if thread != 0 {
            // SAFETY: takes integers. The signal has a handler that does nothing, so a thread that has just ended, or even
            // another of this process with its number, is not harmed.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, SIGRTMIN()) };
        }
        thread != 0
    }
}

/// Makes the signal harmless: it only interrupts `KVM_RUN`. Once for each process, before its first vCPU.
///
/// # Errors
/// Linux's.
pub fn install_signal() -> io::Result<()> {
    extern "C" fn nothing(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
    register_signal_handler(SIGRTMIN(), nothing)
        .map_err(|e| io::Error::from_raw_os_error(e.errno()))
}
