//! The process: identity, thread pointer, name, exit.

use margay_abi::Errno;
use margay_abi::boot::{BootInfo, Isolation};
use margay_abi::calls::{Call, nr, private};
use margay_abi::hypercall::Hypercall;
use margay_abi::layout;

use super::signal::Signals;
use super::{Result, delegate_checked};
use crate::arch::{cpu, usercopy};
use crate::kernel::Kernel;
use crate::report::{self, log};

/// Bytes of a process name, NUL included (Linux's `TASK_COMM_LEN`).
const NAME_BYTES: usize = 16;

/// The program.
pub struct Process {
    /// Signal dispositions, mask and stack.
    pub signals: Signals,
    /// Name, as `prctl` and `ps` show it.
    name: [u8; NAME_BYTES],
    /// The user was told about threads and processes.
    explained: bool,
}

impl Process {
    /// A process that has not begun, with the dispositions that it inherits.
    pub fn new(boot: &BootInfo) -> Self {
        let signals = Signals::new(boot.ignored_signals);
        Process { signals, name: [0; NAME_BYTES], explained: false }
    }

    /// Names the process after its program: the last part of the path, as `execve` does.
    pub fn set_name(&mut self, path: &[u8]) {
        let base = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        self.name = [0; NAME_BYTES];
        for (to, &from) in self.name[..NAME_BYTES - 1].iter_mut().zip(base) {
            *to = from;
        }
    }
}

/// `exit`, `exit_group`: the proxy exits with the same status.
pub fn exit(kernel: &'static Kernel, status: u64) -> ! {
    end(kernel, private::EXIT, status)
}

/// Ends the process on both sides; `how` is [`private::EXIT`] or [`private::DIE`].
pub fn end(kernel: &'static Kernel, how: u32, status: u64) -> ! {
    report::note_figures();
    kernel.proxy.get().call_last(how, [status, 0, 0, 0, 0, 0]);
    loop {
        cpu::hypercall(Hypercall::Shutdown, 0);
    }
}

/// Tells the user, once, why a program that wants threads or processes does not get them.
pub fn explain_refusal(kernel: &'static Kernel, call: &Call) {
    let about = match call.nr {
        nr::CLONE | nr::CLONE3 | nr::FORK | nr::VFORK => "threads and processes",
        nr::EXECVE => "other programs started by the program",
        _ => return,
    };
    let mut process = kernel.process.get();
    if !process.explained {
        process.explained = true;
        log!("the program called {}, but {about} are not supported in this version", call.name);
    }
}

/// `set_robust_list`: kept by nobody, since no other thread would look.
pub fn set_robust_list(bytes: u64) -> Result {
    /// Size of `struct robust_list_head`.
    const HEAD_BYTES: u64 = 24;
    if bytes == HEAD_BYTES { Ok(0) } else { Err(Errno::EINVAL) }
}

/// `arch_prctl`.
pub fn arch_prctl(kernel: &Kernel, code: u64, addr: u64) -> Result {
    const SET_GS: u64 = 0x1001;
    const SET_FS: u64 = 0x1002;
    const GET_FS: u64 = 0x1003;
    const GET_GS: u64 = 0x1004;
    match (code, kernel.isolation) {
        (SET_FS | SET_GS, _) if addr >= layout::USER_END => Err(Errno::EPERM),
        (SET_FS, _) => {
            cpu::write_fs_base(addr);
            Ok(0)
        }
        (GET_FS, _) => usercopy::write(addr, cpu::read_fs_base()).map(|()| 0),
        // GS is the LWK's in fused mode.
        (SET_GS, Isolation::Fused) => Err(Errno::EPERM),
        (GET_GS, Isolation::Fused) => usercopy::write(addr, 0_u64).map(|()| 0),
        (SET_GS, Isolation::Protected) => {
            cpu::write_user_gs_base(addr);
            Ok(0)
        }
        (GET_GS, Isolation::Protected) => {
            usercopy::write(addr, cpu::read_user_gs_base()).map(|()| 0)
        }
        _ => Err(Errno::EINVAL),
    }
}

/// `prctl`: the name is ours, what concerns the Linux side of the process is the proxy's, and what would change the
/// proxy's own life is nobody's.
pub fn prctl(kernel: &'static Kernel, args: [u64; 6]) -> Result {
    const GET_PDEATHSIG: u64 = 2;
    const GET_DUMPABLE: u64 = 3;
    const GET_KEEPCAPS: u64 = 7;
    const SET_NAME: u64 = 15;
    const GET_NAME: u64 = 16;
    const CAPBSET_READ: u64 = 23;
    const GET_SECUREBITS: u64 = 27;
    const SET_TIMERSLACK: u64 = 29;
    const GET_TIMERSLACK: u64 = 30;
    const GET_NO_NEW_PRIVS: u64 = 39;

    let [option, addr, ..] = args;
    match option {
        SET_NAME => {
            let mut name = [0; NAME_BYTES];
            for (i, byte) in name[..NAME_BYTES - 1].iter_mut().enumerate() {
                *byte = usercopy::read::<u8>(addr + i as u64)?;
                if *byte == 0 {
                    break;
                }
            }
            kernel.process.get().name = name;
            delegate_checked(kernel, nr::PRCTL, args)
        }
        GET_NAME => usercopy::write(addr, kernel.process.get().name).map(|()| 0),
        GET_PDEATHSIG | GET_DUMPABLE | GET_KEEPCAPS | CAPBSET_READ | GET_SECUREBITS
        | SET_TIMERSLACK | GET_TIMERSLACK | GET_NO_NEW_PRIVS => {
            delegate_checked(kernel, nr::PRCTL, args)
        }
        _ => Err(Errno::EINVAL),
    }
}
