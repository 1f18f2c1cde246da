//! The way to Linux: calls go down the channel, changes of the program's mappings go before them in the map log.

use core::sync::atomic::Ordering::{Acquire, Relaxed};

use lwk_core::space::MapChange;
use margay_abi::boot::{BootInfo, Delegation};
use margay_abi::calls::private;
use margay_abi::channel::ChannelPage;
use margay_abi::hypercall::Hypercall;
use margay_abi::layout;
use margay_abi::maplog::{MapLog, MapOp, RECORDS};
use margay_abi::status::StatusPage;
use margay_channel::{Driver, Reply, Request};

use crate::arch::cpu;
use crate::arch::privilege::Privilege;
use crate::memory;

/// The only thread's channel.
const CHANNEL: u32 = 0;

/// The proxy, seen from the LWK.
pub struct Proxy {
    driver: Driver<'static>,
    log: &'static MapLog,
    /// Records written, modulo 2^32.
    map_seq: u32,
    delegation: Delegation,
    spin_cycles: u64,
    privilege: Privilege,
    /// TSC cycles that the core was halted.
    halted_cycles: u64,
}

impl Proxy {
    /// Sets the channel up.
    pub fn new(boot: &BootInfo, privilege: Privilege) -> Self {
        let page_gpa = layout::CHANNELS + u64::from(CHANNEL) * layout::PAGE;
        Proxy {
            driver: Driver::new(memory::shared::<ChannelPage>(page_gpa), page_gpa),
            log: memory::shared(layout::MAP_LOG),
            map_seq: 0,
            delegation: boot.delegation().expect("the boot record names a delegation path"),
            spin_cycles: boot.spin_cycles,
            privilege,
            halted_cycles: 0,
        }
    }

    /// Makes a call on Linux and waits for its reply.
    pub fn call(&mut self, nr: u32, args: [u64; 6]) -> Reply {
        self.driver.submit(&Request { nr, map_seq: self.map_seq, args });
        match self.delegation {
            Delegation::Queue if self.driver.must_ring() => {
                cpu::hypercall(Hypercall::Doorbell, CHANNEL);
            }
            Delegation::Queue => {}
            Delegation::Hypercall => cpu::hypercall(Hypercall::Call, CHANNEL),
        }
        self.wait()
    }

    /// Makes a request that has no reply: the proxy ends.
    pub fn call_last(&mut self, nr: u32, args: [u64; 6]) {
        self.driver.submit(&Request { nr, map_seq: self.map_seq, args });
        if self.driver.must_ring() {
            cpu::hypercall(Hypercall::Doorbell, CHANNEL);
        }
    }

    /// Tells the proxy of a change of the program's mappings: with the next call.
    pub fn tell(&mut self, change: MapChange) {
        if self.map_seq.wrapping_sub(self.log.applied.load(Acquire)) >= RECORDS as u32 {
            self.call(private::SYNC, [0; 6]);
        }
        let (op, addr, bytes, gpa, prot) = match change {
            MapChange::Map { addr, bytes, gpa, prot } => {
                (MapOp::Map, addr, bytes, gpa, prot.bits())
            }
            MapChange::Unmap { addr, bytes } => (MapOp::Unmap, addr, bytes, 0, 0),
            MapChange::Protect { addr, bytes, prot } => {
                (MapOp::Protect, addr, bytes, 0, prot.bits())
            }
        };
        let record = &self.log.records[self.map_seq as usize % RECORDS];
        record.addr.store(addr, Relaxed);
        record.len.store(bytes, Relaxed);
        record.gpa.store(gpa, Relaxed);
        record.op.store(op as u32, Relaxed);
        record.prot.store(prot, Relaxed);
        self.map_seq = self.map_seq.wrapping_add(1);
    }

    /// How many TSC cycles the core was halted.
    pub fn halted_cycles(&self) -> u64 {
        self.halted_cycles
    }

    /// Polls for the reply for a while, then halts the core until it is there: a call that blocks on Linux costs nobody
    /// anything.
    fn wait(&mut self) -> Reply {
        let start = cpu::read_tsc();
        loop {
            for _ in 0..64 {
                if let Some(reply) = self.driver.poll() {
                    return reply;
                }
            }
            if cpu::read_tsc().wrapping_sub(start) < self.spin_cycles {
                continue;
            }
            self.privilege.prepare_halt();
            if !self.driver.arm() {
                let halted_at = cpu::read_tsc();
                self.privilege.halt();
                let halts = &memory::shared::<StatusPage>(layout::STATUS_PAGE).halts;
                halts.store(halts.load(Relaxed) + 1, Relaxed);
                self.halted_cycles += cpu::read_tsc().wrapping_sub(halted_at);
            }
        }
    }
}
