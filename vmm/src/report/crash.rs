//! Reports of abnormal ends: what a user, or we, need to find out why.

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use margay_abi::status::{Fault, GENERAL_NAMES, LAST_CALLS, LOG_BYTES, LastCall, StatusPage};
use margay_abi::{Errno, calls, layout};
use vm_memory::{Bytes, GuestAddress};

use margay_protocol::agent::Ending;

use super::symbols::Symbols;
use crate::lwk::Finished;
use crate::lwk::remote::Snapshot;
use crate::lwk::vcpu::End;
use crate::memory::GuestMemory;

/// The most frames of a backtrace.
const FRAMES: usize = 32;
const PAGE_FAULT: u64 = 14;

/// Name of a signal.
pub fn signal_name(signal: u32) -> &'static str {
    match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => "a signal",
    }
}

/// A line about a program that a signal ended without a fault. Nothing for the signals that users send on purpose.
pub fn signal(ending: Ending, pid: u32, end: &End) -> Option<String> {
    let Ending::Signaled(signal) = ending else { return None };
    let name = signal_name(signal as u32);
    match signal {
        libc::SIGKILL if *end != End::Shutdown => Some(format!(
            "margay: the program was killed: its proxy, process {pid}, was ended by signal 9 (SIGKILL)\n"
        )),
        libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGPIPE => None,
        _ => Some(format!("margay: the program ended by signal {signal} ({name})\n")),
    }
}

/// A report of a program's fault, if it has one.
pub fn fault(memory: &GuestMemory, path: &Path) -> Option<String> {
    let status = memory.shared::<StatusPage>(layout::STATUS_PAGE);
    let faulted = Fault::from_u32(status.fault.load(Relaxed)) == Fault::Program;
    faulted.then(|| program(status, path))
}

fn program(status: &StatusPage, path: &Path) -> String {
    let registers = &status.registers;
    let signal = status.signal.load(Relaxed);
    let rip = registers.rip.load(Relaxed);
    let place = Symbols::read(path)
        .describe(rip.wrapping_sub(status.load_bias.load(Relaxed)))
        .map_or(String::new(), |name| format!(" ({name})"));
    let mut text = format!(
        "margay: the program died by signal {signal} ({}) at {rip:#x}{place}: {}\n",
        signal_name(signal),
        cause(
            registers.vector.load(Relaxed),
            registers.error.load(Relaxed),
            registers.cr2.load(Relaxed)
        ),
    );
    write_registers(&mut text, status);
    write_last_calls(&mut text, status);
    text
}

/// What an exception says.
fn cause(vector: u64, error: u64, address: u64) -> String {
    const WRITE: u64 = 1 << 1;
    const FETCH: u64 = 1 << 4;
    let what = match vector {
        0 => "division by zero or overflow",
        1 | 3 => "breakpoint or trace trap",
        6 => "illegal instruction",
        13 => "general protection: a privileged instruction or a bad address",
        16 | 19 => "floating-point error",
        17 => "unaligned access",
        PAGE_FAULT if error & FETCH != 0 => return format!("execution at address {address:#x}"),
        PAGE_FAULT if error & WRITE != 0 => return format!("write to address {address:#x}"),
        PAGE_FAULT => return format!("read from address {address:#x}"),
        _ => return format!("exception {vector}"),
    };
    what.to_owned()
}

/// A report of the LWK's own end, of KVM's, or of where a stopped LWK was.
pub fn kernel(finished: &Finished) -> String {
    let heading = match &finished.outcome.end {
        End::Crash(what) => format!("margay: the LWK failed: {what}\n"),
        End::Panic => format!("margay: the LWK panicked: {}\n", message(finished.status())),
        End::Stopped | End::Shutdown => "margay: the LWK when it was stopped:\n".to_owned(),
    };
    heading + &place(finished.outcome.place.as_ref(), &finished.memory, &finished.image)
}

/// A report of where an LWK is: registers, backtrace, last calls.
pub fn place(place: Option<&Snapshot>, memory: &GuestMemory, image: &Path) -> String {
    let symbols = Symbols::read(image);
    let mut text = String::new();
    if let Some(Snapshot { registers: regs, system }) = place {
        let general = [
            regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp, regs.r8, regs.r9,
            regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
        ];
        write_row(&mut text, GENERAL_NAMES.into_iter().zip(general));
        let special = [
            ("rip", regs.rip),
            ("rsp", regs.rsp),
            ("rflags", regs.rflags),
            ("cs", system.cs.selector.into()),
            ("cr0", system.cr0),
            ("cr2", system.cr2),
            ("cr3", system.cr3),
            ("cr4", system.cr4),
            ("efer", system.efer),
        ];
        write_row(&mut text, special);
        text.push_str("  backtrace\n");
        for address in backtrace(memory, regs.rip, regs.rbp) {
            let name = symbols.describe(address).unwrap_or_else(|| "?".into());
            let _ = writeln!(text, "    {address:#018x}  {name}");
        }
    }
    write_last_calls(&mut text, memory.shared::<StatusPage>(layout::STATUS_PAGE));
    text
}

/// The LWK's last words.
fn message(status: &StatusPage) -> String {
    let len = (status.log_len.load(Relaxed) as usize).min(LOG_BYTES);
    let bytes: Vec<u8> = status.log[..len].iter().map(|byte| byte.load(Relaxed)).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Return addresses, from the frame pointers that the LWK is built with. All its stacks lie in its image.
fn backtrace(memory: &GuestMemory, rip: u64, rbp: u64) -> Vec<u64> {
    let read = |address: u64| -> Option<u64> {
        let gpa = address.checked_sub(layout::IMAGE_OFFSET)?;
        memory.guest_memory().read_obj(GuestAddress(gpa)).ok()
    };
    let mut frames = vec![rip];
    let mut frame = rbp;
    while frames.len() < FRAMES {
        let (Some(next), Some(address)) = (read(frame), read(frame.wrapping_add(8))) else { break };
        if address < layout::IMAGE_OFFSET {
            break;
        }
        frames.push(address);
        if next <= frame {
            break;
        }
        frame = next;
    }
    frames
}

fn write_registers(text: &mut String, status: &StatusPage) {
    let registers = &status.registers;
    let general = registers.general.iter().map(|register| register.load(Relaxed));
    write_row(text, GENERAL_NAMES.into_iter().zip(general));
    let special = [
        ("rip", &registers.rip),
        ("rsp", &registers.rsp),
        ("rflags", &registers.rflags),
        ("error", &registers.error),
        ("cr2", &registers.cr2),
        ("fs", &registers.fs_base),
    ];
    write_row(text, special.map(|(name, value)| (name, value.load(Relaxed))));
}

fn write_row<'a>(text: &mut String, values: impl IntoIterator<Item = (&'a str, u64)>) {
    let values: Vec<_> = values.into_iter().collect();
    for row in values.chunks(4) {
        text.push(' ');
        for (name, value) in row {
            let _ = write!(text, " {name:>6} {value:016x}");
        }
        text.push('\n');
    }
}

fn write_last_calls(text: &mut String, status: &StatusPage) {
    let count = status.calls.load(Relaxed);
    if count == 0 {
        return;
    }
    text.push_str("  last system calls\n");
    for number in count.saturating_sub(LAST_CALLS as u64)..count {
        let call = &status.last_calls[number as usize % LAST_CALLS];
        let nr = call.nr.load(Relaxed);
        let name =
            calls::lookup(nr).map_or_else(|| format!("call {nr}"), |call| call.name.to_owned());
        let [a, b, c] = [0, 1, 2].map(|i| call.args[i].load(Relaxed));
        let result = match call.ret.load(Relaxed) {
            LastCall::PENDING => "did not return".to_owned(),
            value => match Errno::from_return(value) {
                Some(errno) => {
                    format!(
                        "= -1 {}",
                        errno.name().map_or(format!("errno {}", errno.0), str::to_owned)
                    )
                }
                None => format!("= {value:#x}"),
            },
        };
        let _ = writeln!(text, "    {name}({a:#x}, {b:#x}, {c:#x}) {result}");
    }
}
