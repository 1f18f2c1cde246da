//! A living node: its LWKs, its service OS, and what is done to them. See `docs/node.md`.
//!
//! | module | what it is |
//! |---|---|
//! | [`slot`] | an LWK's place: ready, busy, failed, stopped |
//! | [`busy`] | a program that runs, for those who do not own it |
//! | [`program`] | seeing one program through, from launch to end |
//! | [`stand_in`], [`child`], [`remote_proxy`] | what stands for a program on Linux |
//! | [`relayed`] | starting programs in the service VM |
//! | [`session`], [`exec`], [`refusal`] | one connection of a command |
//! | [`control`] | the control loop |
//! | [`daemon`] | `margay up` |
//! | [`status`] | what a node says of itself |

pub mod busy;
pub mod child;
pub mod control;
pub mod daemon;
pub mod exec;
pub mod poll;
pub mod program;
pub mod refusal;
pub mod relayed;
pub mod remote_proxy;
pub mod session;
pub mod signals;
pub mod slot;
pub mod stand_in;
pub mod status;

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use vmm_sys_util::eventfd::EventFd;

use crate::affinity;
use crate::lwk::log::{Echo, Log};
use crate::lwk::remote;
use crate::memory::{Backing, GuestMemory, MemoryError};
use crate::partition::{LwkPlan, Partition, ServiceKind, ServicePlan};
use crate::parts::{Parts, PartsError};
use crate::service::{ServiceError, ServiceVm};
use crate::units::CoreSet;

use signals::SignalFd;
use slot::{Slot, Unavailable};
use status::{LwkStatus, NodeStatus, ServiceState, ServiceStatus};

/// Why a node cannot be made.
#[derive(Debug, Error)]
pub enum NodeError {
    /// A part of Margay is missing.
    #[error(transparent)]
    Parts(#[from] PartsError),
    /// An LWK cannot be booted.
    #[error(transparent)]
    Lwk(#[from] Unavailable),
    /// Memory for an LWK.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The service VM.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Threads, signals, descriptors.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl NodeError {
    /// For `map_err`.
    pub fn system(what: &'static str) -> impl FnOnce(io::Error) -> NodeError {
        move |source| NodeError::System { what, source }
    }
}

/// A node.
#[derive(Debug)]
pub struct Node {
    name: String,
    since: SystemTime,
    service: ServicePlan,
    vm: Option<Arc<ServiceVm>>,
    slots: Vec<Slot>,
    parts: Parts,
    quit: EventFd,
}

impl Node {
    /// Boots everything, unless a signal comes meanwhile; this thread and those it starts from now on run on the service OS's cores.
    ///
    /// # Errors
    /// [`NodeError`]; nothing is left then.
    pub fn boot(
        partition: &Partition,
        echo: Echo,
        signals: &SignalFd,
    ) -> Result<Arc<Node>, NodeError> {
        let parts = Parts::find()?;
        remote::install_signal().map_err(NodeError::system("install a signal handler"))?;
        affinity::bind(partition.service.cores.iter())
            .map_err(NodeError::system("bind to the service cores"))?;
        let (vm, memories) = match &partition.service.kind {
            ServiceKind::Host => (None, vec![None; partition.lwks.len()]),
            ServiceKind::Vm(plan) => {
                let memories = shared_memories(&partition.lwks)?;
                let vm = ServiceVm::new((**plan).clone(), memories.clone());
                (Some(vm), memories.into_iter().map(Some).collect())
            }
        };
        let slot = |(plan, memory): (&LwkPlan, Option<Arc<GuestMemory>>)| {
            let image = plan.image.clone().unwrap_or_else(|| parts.lwk.clone());
            Slot::new(plan, image, Arc::new(Log::new(&plan.name, echo)), memory)
        };
        let node = Node {
            name: partition.name.clone(),
            since: SystemTime::now(),
            service: partition.service.clone(),
            vm,
            slots: partition.lwks.iter().zip(memories).map(slot).collect(),
            parts,
            quit: EventFd::new(libc::EFD_CLOEXEC).map_err(NodeError::system("make an eventfd"))?,
        };
        std::thread::scope(|scope| {
            let vm = node.vm.as_ref().map(|vm| scope.spawn(|| vm.boot(Some(signals.as_raw_fd()))));
            node.boot_lwks()?;
            match vm.map(|vm| vm.join().expect("booting a VM does not panic")) {
                Some(Err(error)) => Err(NodeError::Service(error)),
                Some(Ok(_)) | None => Ok(()),
            }
        })?;
        Ok(Arc::new(node))
    }

    /// All at once: what takes time is getting memory from the host.
    fn boot_lwks(&self) -> Result<(), NodeError> {
        let booted: Vec<_> = std::thread::scope(|scope| {
            let boot = |slot: &'_ Slot| slot.restart(None, "");
            let threads: Vec<_> =
                self.slots.iter().map(|slot| scope.spawn(move || boot(slot))).collect();
            threads.into_iter().map(|thread| thread.join()).collect()
        });
        for (slot, booted) in self.slots.iter().zip(booted) {
            booted.expect("booting an LWK does not panic")?;
            if let Some(Backing::Fallback(why)) = slot.backing() {
                slot.log.report(&format!(
                    "margay: note: memory of {} is on 4 KiB pages, slower at random access: the host gave no 2 MiB pages ({why})\n",
                    slot.name()
                ));
            }
        }
        Ok(())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Margay's other parts.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Its service OS.
    pub fn service(&self) -> &ServicePlan {
        &self.service
    }

    /// Its service VM, if it has one.
    pub fn vm(&self) -> Option<&Arc<ServiceVm>> {
        self.vm.as_ref()
    }

    /// Its LWKs.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The LWK of this name.
    pub fn slot(&self, name: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.name() == name)
    }

    /// Rung when the node is to end.
    pub fn quit(&self) -> &EventFd {
        &self.quit
    }

    /// What is done every second: clocks, signs of life.
    pub fn tick(&self) {
        for busy in self.slots.iter().filter_map(Slot::busy) {
            busy.tick();
        }
    }

    /// Ends all programs with `reason` and frees everything.
    pub fn stop(&self, reason: &str) {
        std::thread::scope(|scope| {
            for slot in &self.slots {
                // One that does not come to rest ends with this process.
                scope.spawn(|| slot.stop(reason).is_ok());
            }
        });
        self.vm.iter().for_each(|vm| vm.down());
    }

    /// Has the control loop end.
    pub fn end(&self) {
        // The counter of an eventfd overflows only after 2^64 rings.
        let _ = self.quit.write(1);
    }

    /// What everything is at.
    pub fn status(&self) -> NodeStatus {
        NodeStatus {
            name: self.name.clone(),
            pid: std::process::id(),
            since: self.since,
            service: ServiceStatus {
                kind: if self.vm.is_some() { "vm" } else { "host" }.to_owned(),
                cores: self.service.cores.to_string(),
                memory: self.vm.as_ref().map(|vm| vm.plan().memory.0),
                state: self.vm.as_ref().map_or(ServiceState::Running, |vm| vm.state()),
            },
            lwks: self.slots.iter().map(lwk_status).collect(),
        }
    }
}

/// Memory for all LWKs, all at once: what takes time is getting it from the host.
fn shared_memories(lwks: &[LwkPlan]) -> Result<Vec<Arc<GuestMemory>>, MemoryError> {
    std::thread::scope(|scope| {
        let make = |plan: &LwkPlan| GuestMemory::new(plan.memory.0, plan.pages.into());
        let threads: Vec<_> =
            lwks.iter().map(|plan| scope.spawn(move || make(plan).map(Arc::new))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread.join().expect("getting memory does not panic")
        };
        threads.into_iter().map(join).collect()
    })
}

fn lwk_status(slot: &Slot) -> LwkStatus {
    let (boots, last_end) = slot.history();
    LwkStatus {
        name: slot.name().to_owned(),
        state: slot.state(),
        cores: slot.plan.cores.iter().copied().collect::<CoreSet>().to_string(),
        memory: slot.plan.memory.0,
        boots,
        last_end,
        counters: slot.busy().and_then(|busy| busy.counters()),
    }
}

/// How long the rest of a message may take when its beginning is there. Who sends half of one loses his connection, and
/// keeps nobody else waiting.
pub const MESSAGE_LIMIT: Duration = Duration::from_secs(1);
/// How long a command may take to make its request, and to say that it has become a proxy.
pub const LAUNCH_LIMIT: Duration = Duration::from_secs(10);
