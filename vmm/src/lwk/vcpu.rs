//! The vCPU's thread: the only thing of ours that runs on an LWK's core.
//!
//! It enters the guest and, when the guest comes out, serves the hypercall and enters again. It leaves this loop when the guest is
//! done, has failed, or somebody asks for it through a [`Remote`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use margay_abi::channel::ChannelPage;
use margay_abi::hypercall::Hypercall;
use margay_abi::layout;
use margay_abi::status::{LOG_BYTES, StatusPage};
use margay_channel::Relay;
use vmm_sys_util::eventfd::EventFd;

use super::clock::read_tsc;
use super::exits::{Exit, ExitCounts};
use super::log::Log;
use super::remote::{Remote, Snapshot};
use super::vm::Vm;
use crate::memory::GuestMemory;

/// How a vCPU ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// The LWK shut down.
    Shutdown,
    /// The LWK panicked; the status page says why.
    Panic,
    /// The guest or KVM failed: how.
    Crash(String),
    /// Somebody stopped it.
    Stopped,
}

/// What is left of a vCPU.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// Exits by reason.
    pub exits: ExitCounts,
    /// Where it was, if KVM gave its registers.
    pub place: Option<Snapshot>,
    /// TSC when the thread entered the guest for the first time.
    pub tsc_entered: u64,
}

/// What the vCPU's thread needs to serve hypercalls.
#[derive(Debug)]
pub struct Services {
    /// The guest's memory.
    pub memory: Arc<GuestMemory>,
    /// The proxy's doorbell.
    pub kick: EventFd,
    /// Where what the LWK prints goes.
    pub log: Arc<Log>,
    /// How long to wait for a reply on the hypercall path before the guest may halt, in TSC cycles.
    pub spin_cycles: u64,
}

/// Runs the guest until it ends. In a thread of its own, that `remote` is for.
pub fn run(mut vm: Vm, services: &Services, remote: &Remote) -> Outcome {
    let mut exits = ExitCounts::default();
    remote.attach();
    let tsc_entered = read_tsc();
    let end = loop {
        let exit = Exit::parse(vm.vcpu.run());
        exits.count(&exit);
        match exit {
            Exit::Hypercall(call, value) => match services.serve(call, value) {
                None => {}
                Some(end) => break end,
            },
            Exit::Interrupted if remote.stop_requested() => break End::Stopped,
            Exit::Interrupted => remote.answer(|| Snapshot::of(&vm.vcpu)),
            Exit::Fatal(what) => break End::Crash(what),
        }
    };
    remote.detach();
    Outcome { end, exits, place: Snapshot::of(&vm.vcpu), tsc_entered }
}

impl Services {
    /// Serves one hypercall. `Some` when it was the last.
    fn serve(&self, call: Hypercall, value: u32) -> Option<End> {
        match call {
            Hypercall::Call if u64::from(value) < layout::CHANNEL_COUNT => self.relay(value),
            Hypercall::Call => return Some(End::Crash(format!("a call on channel {value}"))),
            // Only where the value is not that of the ioeventfd: no such channel is in use.
            Hypercall::Doorbell => {
                return Some(End::Crash(format!("a doorbell of channel {value}")));
            }
            Hypercall::Shutdown => return Some(End::Shutdown),
            Hypercall::Panic => return Some(End::Panic),
            Hypercall::Log => self.log(value),
            Hypercall::Nothing => {}
        }
        None
    }

    /// Waits for the reply to the request in channel `index`, for a while.
    fn relay(&self, index: u32) {
        let page = layout::CHANNELS + u64::from(index) * layout::PAGE;
        let relay = Relay::new(self.memory.shared::<ChannelPage>(page));
        if relay.proxy_must_be_rung() {
            // The counter of an eventfd overflows only after 2^64 rings.
            let _ = self.kick.write(1);
        }
        let start = read_tsc();
        while !relay.reply_ready() && read_tsc().wrapping_sub(start) < self.spin_cycles {
            std::hint::spin_loop();
        }
    }

    /// Takes what the LWK put into its log buffer.
    fn log(&self, bytes: u32) {
        let status = self.memory.shared::<StatusPage>(layout::STATUS_PAGE);
        let text: Vec<u8> = status.log[..LOG_BYTES.min(bytes as usize)]
            .iter()
            .map(|byte| byte.load(Ordering::Relaxed))
            .collect();
        self.log.say(&String::from_utf8_lossy(&text));
    }
}
