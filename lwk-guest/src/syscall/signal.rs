//! Signals, as far as a program without handlers can tell: dispositions, mask, pending ones, and the end that a signal brings.
//!
//! Handlers are recorded but not run in this version. A signal that would run one ends the program and says so.

use core::sync::atomic::Ordering::Relaxed;

use margay_abi::Errno;
use margay_abi::calls::{nr, private};

use super::{Result, delegate_checked, process};
use crate::arch::usercopy;
use crate::kernel::Kernel;
use crate::report::log;

/// A signal number, 1 to 64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signal(pub u32);

impl Signal {
    /// Trace or breakpoint trap.
    pub const TRAP: Signal = Signal(5);
    /// Illegal instruction.
    pub const ILL: Signal = Signal(4);
    /// Bad memory access of the kind that has no address.
    pub const BUS: Signal = Signal(7);
    /// Arithmetic error.
    pub const FPE: Signal = Signal(8);
    /// Kill: cannot be caught.
    const KILL: Signal = Signal(9);
    /// Bad memory access.
    pub const SEGV: Signal = Signal(11);
    /// Stop: cannot be caught.
    const STOP: Signal = Signal(19);

    fn new(number: u64) -> core::result::Result<Signal, Errno> {
        if (1..=64).contains(&number) { Ok(Signal(number as u32)) } else { Err(Errno::EINVAL) }
    }

    const fn bit(self) -> u64 {
        1 << (self.0 - 1)
    }

    /// Whether nothing happens by default: SIGCHLD, SIGCONT, SIGURG, SIGWINCH, and the stops, which job control on the proxy's side
    /// does (signal(7)).
    const fn ignored_by_default(self) -> bool {
        matches!(self.0, 17 | 18 | 19 | 20 | 21 | 22 | 23 | 28)
    }
}

/// A signal's disposition, as `rt_sigaction` has it: handler, flags, restorer, mask.
type Action = [u64; 4];

const SIG_DFL: u64 = 0;
const SIG_IGN: u64 = 1;

/// What a process says about signals.
pub struct Signals {
    actions: [Action; 64],
    blocked: u64,
    pending: u64,
    /// Alternate stack: address, flags, bytes. Disabled at first.
    stack: [u64; 3],
}

/// `SS_DISABLE`.
const STACK_DISABLED: u64 = 2;

impl Signals {
    /// Default dispositions, except for the signals of the set `ignored`.
    pub fn new(ignored: u64) -> Self {
        let mut actions = [[SIG_DFL, 0, 0, 0]; 64];
        for (bit, action) in actions.iter_mut().enumerate() {
            action[0] = if ignored >> bit & 1 != 0 { SIG_IGN } else { SIG_DFL };
        }
        Signals { actions, blocked: 0, pending: 0, stack: [0, STACK_DISABLED, 0] }
    }
}

/// Sends all signals of `set` to the program.
pub fn raise_all(kernel: &'static Kernel, set: u64) {
    for number in 1..=64 {
        if set & Signal(number).bit() != 0 {
            raise(kernel, Signal(number));
        }
    }
}

/// Sends `signal` to the program, and returns if it survives that.
fn raise(kernel: &'static Kernel, signal: Signal) {
    let handler = {
        let signals = &mut kernel.process.get().signals;
        if signals.blocked & signal.bit() != 0 {
            signals.pending |= signal.bit();
            return;
        }
        signals.actions[signal.0 as usize - 1][0]
    };
    match handler {
        SIG_IGN => {}
        SIG_DFL if signal.ignored_by_default() => {}
        SIG_DFL => end_program(kernel, signal),
        _ => {
            log!(
                "the program has a handler for signal {}, which this version cannot run: it dies by the signal",
                signal.0
            );
            end_program(kernel, signal)
        }
    }
}

/// Ends the program by `signal`: its proxy dies by the same.
pub fn end_program(kernel: &'static Kernel, signal: Signal) -> ! {
    process::end(kernel, private::DIE, u64::from(signal.0))
}

fn check_size(bytes: u64) -> core::result::Result<(), Errno> {
    if bytes == 8 { Ok(()) } else { Err(Errno::EINVAL) }
}

/// `rt_sigaction`. Linux's side hears of signals that are ignored, so that a terminal's Ctrl-C does what the program wants.
pub fn rt_sigaction(kernel: &'static Kernel, number: u64, new: u64, old: u64, size: u64) -> Result {
    check_size(size)?;
    let signal = Signal::new(number)?;
    let index = number as usize - 1;
    let action = if new != 0 { Some(usercopy::read::<Action>(new)?) } else { None };
    if action.is_some() && matches!(signal, Signal::KILL | Signal::STOP) {
        return Err(Errno::EINVAL);
    }
    let before = kernel.process.get().signals.actions[index];
    if old != 0 {
        usercopy::write(old, before)?;
    }
    let Some(action) = action else { return Ok(0) };
    kernel.process.get().signals.actions[index] = action;
    let (was_ignored, ignored) = (before[0] == SIG_IGN, action[0] == SIG_IGN);
    if was_ignored != ignored {
        let all = &kernel.status.ignored_signals;
        all.store(all.load(Relaxed) ^ signal.bit(), Relaxed);
        delegate_checked(kernel, private::SET_IGNORED, [number, u64::from(ignored), 0, 0, 0, 0])?;
    }
    Ok(0)
}

/// `rt_sigprocmask`.
pub fn rt_sigprocmask(kernel: &'static Kernel, how: u64, new: u64, old: u64, size: u64) -> Result {
    const BLOCK: u64 = 0;
    const UNBLOCK: u64 = 1;
    const SETMASK: u64 = 2;
    check_size(size)?;
    let set = if new != 0 { Some(usercopy::read::<u64>(new)?) } else { None };
    let before = kernel.process.get().signals.blocked;
    if let Some(set) = set {
        let blocked = match how {
            BLOCK => before | set,
            UNBLOCK => before & !set,
            SETMASK => set,
            _ => return Err(Errno::EINVAL),
        };
        let due = {
            let signals = &mut kernel.process.get().signals;
            signals.blocked = blocked & !(Signal::KILL.bit() | Signal::STOP.bit());
            let due = signals.pending & !signals.blocked;
            signals.pending &= !due;
            due
        };
        raise_all(kernel, due);
    }
    if old != 0 {
        usercopy::write(old, before)?;
    }
    Ok(0)
}

/// `rt_sigpending`.
pub fn rt_sigpending(kernel: &Kernel, out: u64, size: u64) -> Result {
    if size > 8 {
        return Err(Errno::EINVAL);
    }
    let pending = kernel.process.get().signals.pending.to_le_bytes();
    usercopy::write_bytes(out, &pending[..size as usize]).map(|()| 0)
}

/// `sigaltstack`.
pub fn sigaltstack(kernel: &Kernel, new: u64, old: u64) -> Result {
    const FLAGS: u64 = 0xffff_ffff;
    const AUTODISARM: u64 = 1 << 31;
    const MINIMUM: u64 = 2048;
    let stack = if new != 0 { Some(usercopy::read::<[u64; 3]>(new)?) } else { None };
    let before = kernel.process.get().signals.stack;
    if let Some([addr, flags, bytes]) = stack {
        let stack = match flags & FLAGS & !AUTODISARM {
            STACK_DISABLED => [0, STACK_DISABLED, 0],
            0 | 1 if bytes < MINIMUM => return Err(Errno::ENOMEM),
            0 | 1 => [addr, flags & AUTODISARM, bytes],
            _ => return Err(Errno::EINVAL),
        };
        kernel.process.get().signals.stack = stack;
    }
    if old != 0 {
        usercopy::write(old, before)?;
    }
    Ok(0)
}

/// `kill`. To others it is Linux's.
pub fn kill(kernel: &'static Kernel, pid: u64, number: u64) -> Result {
    if pid as u32 != kernel.boot.pid {
        return delegate_checked(kernel, nr::KILL, [pid, number, 0, 0, 0, 0]);
    }
    raise_checked(kernel, number)
}

/// `tgkill`, and `tkill` with the own process.
pub fn tgkill(kernel: &'static Kernel, pid: u64, tid: u64, number: u64) -> Result {
    if pid as i32 <= 0 || tid as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    if pid as u32 != kernel.boot.pid {
        return delegate_checked(kernel, nr::TGKILL, [pid, tid, number, 0, 0, 0]);
    }
    if tid as u32 != kernel.boot.pid {
        return Err(Errno::ESRCH);
    }
    raise_checked(kernel, number)
}

/// Sends signal `number` to the program; 0 only asks whether that is allowed.
fn raise_checked(kernel: &'static Kernel, number: u64) -> Result {
    if number as u32 != 0 {
        raise(kernel, Signal::new(u64::from(number as u32))?);
    }
    Ok(0)
}
