//! Exits of the guest to the VMM: parsed once, counted by reason.

use std::collections::BTreeMap;

use kvm_ioctls::VcpuExit;
use margay_abi::hypercall::Hypercall;

/// Why the guest came out, as far as the VMM tells reasons apart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Exit {
    /// A hypercall with its value.
    Hypercall(Hypercall, u32),
    /// A signal to the vCPU's thread.
    Interrupted,
    /// The guest did something that no LWK does, or KVM gave up: which.
    Fatal(String),
}

impl Exit {
    /// Parses what `KVM_RUN` returned.
    pub fn parse(result: Result<VcpuExit<'_>, kvm_ioctls::Error>) -> Exit {
        let exit = match result {
            Ok(exit) => exit,
            Err(error) if error.errno() == libc::EINTR || error.errno() == libc::EAGAIN => {
                return Exit::Interrupted;
            }
            Err(error) => return Exit::Fatal(format!("KVM_RUN failed: {error}")),
        };
        match exit {
            VcpuExit::IoOut(port, data) => match (Hypercall::from_port(port), data) {
                (Some(call), &[a, b, c, d]) => {
                    Exit::Hypercall(call, u32::from_le_bytes([a, b, c, d]))
                }
                _ => Exit::Fatal(format!("a write of {} bytes to I/O port {port:#x}", data.len())),
            },
            VcpuExit::IoIn(port, _) => Exit::Fatal(format!("a read from I/O port {port:#x}")),
            VcpuExit::MmioRead(gpa, _) => {
                Exit::Fatal(format!("a read at guest-physical {gpa:#x}, where there is no memory"))
            }
            VcpuExit::MmioWrite(gpa, _) => {
                Exit::Fatal(format!("a write at guest-physical {gpa:#x}, where there is no memory"))
            }
            VcpuExit::Shutdown => Exit::Fatal("a triple fault".into()),
            VcpuExit::InternalError => {
                Exit::Fatal("an instruction that this host's KVM cannot emulate".into())
            }
            VcpuExit::FailEntry(reason, _) => {
                Exit::Fatal(format!("the processor refused the guest's state, reason {reason:#x}"))
            }
            VcpuExit::Intr => Exit::Interrupted,
            other => Exit::Fatal(format!("an unexpected exit: {other:?}")),
        }
    }

    /// Name of the reason, for statistics.
    fn reason(&self) -> &'static str {
        match self {
            Exit::Hypercall(Hypercall::Call, _) => "delegated call",
            Exit::Hypercall(Hypercall::Doorbell, _) => "doorbell",
            Exit::Hypercall(Hypercall::Shutdown, _) => "shutdown",
            Exit::Hypercall(Hypercall::Panic, _) => "panic",
            Exit::Hypercall(Hypercall::Log, _) => "log",
            Exit::Hypercall(Hypercall::Nothing, _) => "probe",
            Exit::Interrupted => "host signal",
            Exit::Fatal(_) => "fatal",
        }
    }
}

/// Exits by reason. Doorbells that an ioeventfd takes do not come out and are not counted.
#[derive(Clone, Debug, Default)]
pub struct ExitCounts(BTreeMap<&'static str, u64>);

impl ExitCounts {
    /// Counts an exit.
    pub fn count(&mut self, exit: &Exit) {
        *self.0.entry(exit.reason()).or_default() += 1;
    }

    /// Reasons with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(&reason, &count)| (reason, count))
    }
}
