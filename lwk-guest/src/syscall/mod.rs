//! Triage: every system call enters here, and is served, delegated or refused as the table in `abi` says.

pub mod memory;
pub mod process;
pub mod sched;
pub mod signal;
pub mod time;

use core::sync::atomic::Ordering::Relaxed;

use margay_abi::Errno;
use margay_abi::calls::{self, Route, nr, private};
use margay_abi::hypercall::Hypercall;

use crate::arch::cpu;
use crate::arch::gate::CallFrame;
use crate::kernel::{Kernel, kernel};
use crate::{report, rewrite};

/// What a call returns.
pub type Result = core::result::Result<u64, Errno>;

/// Serves a system call and returns its raw value. Called by the gate.
pub extern "C" fn serve(frame: &CallFrame) -> u64 {
    let kernel = kernel();
    let args = frame.args();
    let trace = report::begin_call(kernel.status, frame.nr, args);
    let value = match kernel.stats {
        None => triage(kernel, frame.nr, args),
        Some(stats) => {
            let start = cpu::read_tsc();
            let value = triage(kernel, frame.nr, args);
            stats.record(frame.nr, cpu::read_tsc().wrapping_sub(start));
            value
        }
    };
    trace.ret.store(value, Relaxed);
    value
}

/// Serves a system call that came through the slow entry of fused mode. Called by the gate.
pub extern "C" fn serve_escaped(frame: &CallFrame) -> u64 {
    let kernel = kernel();
    let escapes = &kernel.status.escapes;
    escapes.store(escapes.load(Relaxed) + 1, Relaxed);
    rewrite::note_escape(kernel, frame.rip);
    serve(frame)
}

fn triage(kernel: &'static Kernel, number: u64, args: [u64; 6]) -> u64 {
    let result = match calls::lookup(number) {
        Some(call) => match call.route {
            Route::Local | Route::Split => {
                let result = local(kernel, call.nr, args);
                if changes_memory(call.nr) {
                    report::note_figures();
                }
                result
            }
            Route::Delegate => return delegate(kernel, call.nr, args),
            Route::Refuse(errno) => {
                process::explain_refusal(kernel, call);
                Err(errno)
            }
        },
        None if number == u64::from(private::PROBE_EXIT) => {
            cpu::hypercall(Hypercall::Nothing, 0);
            Ok(0)
        }
        None => Err(Errno::ENOSYS),
    };
    result.unwrap_or_else(Errno::as_return)
}

/// Whether a call may change how much memory the program uses.
const fn changes_memory(number: u32) -> bool {
    matches!(number, nr::BRK | nr::MMAP | nr::MUNMAP | nr::MREMAP | nr::MADVISE)
}

/// Has the proxy make a call, and delivers the signals that it raised. Returns the raw value.
pub fn delegate(kernel: &'static Kernel, number: u32, args: [u64; 6]) -> u64 {
    let reply = kernel.proxy.get().call(number, args);
    if reply.signals != 0 {
        signal::raise_all(kernel, reply.signals);
    }
    reply.ret
}

/// As [`delegate`], with the error told apart.
pub fn delegate_checked(kernel: &'static Kernel, number: u32, args: [u64; 6]) -> Result {
    let value = delegate(kernel, number, args);
    Errno::from_return(value).map_or(Ok(value), Err)
}

/// The calls that the LWK serves.
fn local(kernel: &'static Kernel, number: u32, args: [u64; 6]) -> Result {
    let [a, b, c, d, e, f] = args;
    match number {
        nr::GETPID | nr::GETTID => Ok(u64::from(kernel.boot.pid)),
        nr::SCHED_YIELD => Ok(0),

        nr::CLOCK_GETTIME => time::clock_gettime(kernel, a, b),
        nr::CLOCK_GETRES => time::clock_getres(kernel, a, b),
        nr::GETTIMEOFDAY => time::gettimeofday(kernel, a, b),
        nr::TIME => time::time(kernel, a),
        nr::NANOSLEEP => time::nanosleep(kernel, a, b),
        nr::CLOCK_NANOSLEEP => time::clock_nanosleep(kernel, a, b, c, d),

        nr::BRK => Ok(kernel.memory.get().brk(a)),
        nr::MMAP => memory::mmap(kernel, args),
        nr::MUNMAP => kernel.memory.get().munmap(a, b).map(|()| 0),
        nr::MPROTECT => kernel.memory.get().mprotect(a, b, c).map(|()| 0),
        nr::MREMAP => kernel.memory.get().mremap(a, b, c, d, e),
        nr::MADVISE => kernel.memory.get().madvise(a, b, c).map(|()| 0),
        nr::MSYNC => kernel.memory.get().msync(a, b, c).map(|()| 0),
        nr::MINCORE => memory::mincore(kernel, a, b, c),
        nr::MLOCK => kernel.memory.get().mlock(a, b, 0).map(|()| 0),
        nr::MLOCK2 => kernel.memory.get().mlock(a, b, c).map(|()| 0),
        nr::MUNLOCK => kernel.memory.get().munlock(a, b).map(|()| 0),
        nr::MLOCKALL => kernel.memory.get().mlockall(a).map(|()| 0),
        nr::MUNLOCKALL => Ok(0),

        nr::RT_SIGACTION => signal::rt_sigaction(kernel, a, b, c, d),
        nr::RT_SIGPROCMASK => signal::rt_sigprocmask(kernel, a, b, c, d),
        nr::RT_SIGPENDING => signal::rt_sigpending(kernel, a, b),
        nr::SIGALTSTACK => signal::sigaltstack(kernel, a, b),
        nr::KILL => signal::kill(kernel, a, b),
        nr::TKILL => signal::tgkill(kernel, u64::from(kernel.boot.pid), a, b),
        nr::TGKILL => signal::tgkill(kernel, a, b, c),
        nr::RESTART_SYSCALL => Err(Errno::EINTR),

        nr::EXIT | nr::EXIT_GROUP => process::exit(kernel, a),
        nr::SET_TID_ADDRESS => Ok(u64::from(kernel.boot.pid)),
        nr::SET_ROBUST_LIST => process::set_robust_list(b),
        nr::ARCH_PRCTL => process::arch_prctl(kernel, a, b),
        nr::PRCTL => process::prctl(kernel, args),

        nr::SCHED_GETAFFINITY => sched::sched_getaffinity(kernel, a, b, c),
        nr::SCHED_SETAFFINITY => sched::sched_setaffinity(kernel, a, b, c),
        nr::GETCPU => sched::getcpu(a, b),
        nr::MEMBARRIER => sched::membarrier(a),
        nr::FUTEX => sched::futex(kernel, [a, b, c, d, e, f]),
        // The table and this match are tested against each other by every program that makes the call.
        _ => Err(Errno::ENOSYS),
    }
}
