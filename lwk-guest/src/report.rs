//! What the VMM can read: the log, the last calls, the registers of a fault.

use core::fmt::{self, Write};
use core::panic::PanicInfo;
use core::sync::atomic::Ordering::Relaxed;

use margay_abi::hypercall::Hypercall;
use margay_abi::layout;
use margay_abi::status::{Fault, LAST_CALLS, LOG_BYTES, LastCall, StatusPage};

use crate::arch::cpu;
use crate::arch::trap::TrapFrame;
use crate::kernel::try_kernel;
use crate::memory;

/// Prints a line for the user.
macro_rules! log {
    ($($arg:tt)*) => { $crate::report::print(format_args!("{}\n", format_args!($($arg)*))) };
}
pub(crate) use log;

/// Writes into the status page's log buffer; what does not fit is cut off.
struct Buffer {
    status: &'static StatusPage,
    len: usize,
}

impl Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes().take(LOG_BYTES - self.len) {
            self.status.log[self.len].store(byte, Relaxed);
            self.len += 1;
        }
        Ok(())
    }
}

fn fill(text: fmt::Arguments<'_>) -> usize {
    let mut buffer = Buffer { status: memory::shared(layout::STATUS_PAGE), len: 0 };
    // The buffer takes what fits and never fails.
    let _ = buffer.write_fmt(text);
    buffer.status.log_len.store(buffer.len as u64, Relaxed);
    buffer.len
}

/// Has the VMM print `text` on its standard error.
pub fn print(text: fmt::Arguments<'_>) {
    let bytes = fill(text);
    cpu::hypercall(Hypercall::Log, bytes as u32);
}

/// Begins an entry in the ring of last calls; the caller stores the return value in it.
pub fn begin_call(status: &'static StatusPage, nr: u64, args: [u64; 6]) -> &'static LastCall {
    let count = status.calls.load(Relaxed);
    status.calls.store(count + 1, Relaxed);
    let entry = &status.last_calls[count as usize % LAST_CALLS];
    entry.nr.store(nr, Relaxed);
    for (to, &arg) in entry.args.iter().zip(&args) {
        to.store(arg, Relaxed);
    }
    entry.ret.store(LastCall::PENDING, Relaxed);
    entry
}

/// Notes the registers of a fault.
pub fn note_fault(fault: Fault, signal: u32, frame: &TrapFrame, address: u64) {
    let status: &StatusPage = memory::shared(layout::STATUS_PAGE);
    let registers = &status.registers;
    for (to, &from) in registers.general.iter().zip(&frame.general) {
        to.store(from, Relaxed);
    }
    registers.rsp.store(frame.rsp, Relaxed);
    registers.rip.store(frame.rip, Relaxed);
    registers.rflags.store(frame.rflags, Relaxed);
    registers.cs.store(frame.cs, Relaxed);
    registers.cr2.store(address, Relaxed);
    registers.error.store(frame.error, Relaxed);
    registers.vector.store(frame.vector, Relaxed);
    registers.fs_base.store(cpu::read_fs_base(), Relaxed);
    status.signal.store(signal, Relaxed);
    status.fault.store(fault as u32, Relaxed);
}

/// Brings the status page's figures up to date, for the VMM's report.
pub fn note_figures() {
    let Some(kernel) = try_kernel() else { return };
    let mut memory = kernel.memory.get();
    kernel.status.used_bytes.store(memory.used_bytes(), Relaxed);
    kernel.status.peak_bytes.store(memory.peak_bytes(), Relaxed);
    kernel.status.kept_bytes.store(memory.machine().kept_bytes(), Relaxed);
}

/// The LWK's own end. The VMM prints the message with the vCPU's registers and a backtrace from here.
#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let status: &StatusPage = memory::shared(layout::STATUS_PAGE);
    match info.location() {
        Some(at) => fill(format_args!("{} ({at})", info.message())),
        None => fill(format_args!("{}", info.message())),
    };
    if status.fault.load(Relaxed) == Fault::None as u32 {
        status.fault.store(Fault::Kernel as u32, Relaxed);
    }
    loop {
        cpu::hypercall(Hypercall::Panic, 0);
    }
}
