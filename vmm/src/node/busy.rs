//! A program that runs in an LWK, as those see it who do not own it: `ps`, the clock, the watch for cores that hang.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use margay_abi::layout;
use margay_abi::status::StatusPage;
use margay_abi::time::TimePage;
use vmm_sys_util::eventfd::EventFd;

use super::poll;
use super::program::Cancel;
use super::status::{Counters, LwkState};
use crate::lwk::Running;
use crate::lwk::clock::ClockWriter;
use crate::lwk::remote::Remote;
use crate::memory::GuestMemory;
use crate::report::crash;

/// A program that runs.
#[derive(Debug)]
pub struct Busy {
    /// Ends it.
    pub cancel: Cancel,
    since: SystemTime,
    watch: Option<Duration>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    pid: u32,
    command: String,
    live: Option<Live>,
    ended: bool,
}

/// What can be seen and touched of a running LWK.
#[derive(Debug)]
pub struct Live {
    /// Its memory.
    pub memory: Arc<GuestMemory>,
    /// Interrupts its core.
    pub wake: EventFd,
    /// Its vCPU's thread.
    pub remote: Remote,
    /// The writer of its clock page.
    pub clock: ClockWriter,
    /// Its image.
    pub image: PathBuf,
    /// The process that stands for it, if that is one of this host.
    pub process: Option<OwnedFd>,
    /// What the last looks at it have shown.
    pub health: Health,
}

/// Signs of life.
#[derive(Debug)]
pub struct Health {
    /// When there was a sign of life, or it was launched.
    alive: SystemTime,
    /// When to look next.
    next: Instant,
    calls: u64,
    pulse: u64,
    /// Looks in vain since then.
    missed: u32,
}

impl Default for Health {
    fn default() -> Self {
        Health { alive: SystemTime::now(), next: Instant::now(), calls: 0, pulse: 0, missed: 0 }
    }
}

/// Looks in vain after which a core counts as hung: the first only raises the interrupt.
const HUNG_AFTER: u32 = 2;
/// How long a vCPU may take to come out of the guest.
const LOCATE_LIMIT: Duration = Duration::from_millis(200);

impl Busy {
    /// A program that is about to be started as `command`, looked at every `watch`.
    ///
    /// # Errors
    /// No descriptors.
    pub fn new(command: String, watch: Option<Duration>) -> std::io::Result<Busy> {
        let inner = Mutex::new(Inner { pid: 0, command, live: None, ended: false });
        Ok(Busy { cancel: Cancel::new()?, since: SystemTime::now(), watch, inner })
    }

    /// It runs, with process `pid` as its stand-in.
    pub fn launched(&self, pid: u32, live: Live) {
        let mut inner = self.lock();
        inner.pid = pid;
        inner.live = Some(live);
    }

    /// It runs no more; its memory may be freed.
    pub fn ended(&self) {
        let mut inner = self.lock();
        inner.live = None;
        inner.ended = true;
    }

    /// Whether it, or its stand-in, has ended: its LWK will soon be busy no more.
    pub fn is_ending(&self) -> bool {
        let inner = self.lock();
        if inner.ended {
            return true;
        }
        let process = inner.live.as_ref().and_then(|live| live.process.as_ref());
        process.is_some_and(|fd| !poll::readable(&[fd.as_raw_fd()], Duration::ZERO).is_empty())
    }

    /// The command, for messages.
    pub fn describe(&self) -> String {
        let inner = self.lock();
        format!("{} (process {})", inner.command, inner.pid)
    }

    /// Brings the LWK's clocks up to date, and looks whether it lives when it is time to.
    pub fn tick(&self) {
        let mut inner = self.lock();
        let Some(live) = &mut inner.live else { return };
        live.clock.update(live.memory.shared::<TimePage>(layout::TIME_PAGE));
        if let Some(period) = self.watch.filter(|_| Instant::now() >= live.health.next) {
            live.look();
            live.health.next = Instant::now() + period;
        }
    }

    /// What it is at.
    pub fn state(&self) -> LwkState {
        let inner = self.lock();
        if inner.ended {
            return LwkState::Booting;
        }
        let Some(live) = &inner.live else {
            return LwkState::Starting { command: inner.command.clone() };
        };
        let (command, pid, since) = (inner.command.clone(), inner.pid, self.since);
        if live.health.missed < HUNG_AFTER {
            return LwkState::Running { command, pid, since };
        }
        let place = live.remote.locate(LOCATE_LIMIT);
        let place = crash::place(place.as_ref(), &live.memory, &live.image);
        LwkState::Hung { command, pid, since, silent_since: live.health.alive, place }
    }

    /// Counters of the program so far.
    pub fn counters(&self) -> Option<Counters> {
        let inner = self.lock();
        let live = inner.live.as_ref()?;
        Some(Counters::of(live.memory.shared::<StatusPage>(layout::STATUS_PAGE)))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// What can be seen of `running`, whose stand-in is `process`.
    ///
    /// # Errors
    /// No descriptors.
    pub fn of(running: &Running, process: Option<OwnedFd>) -> std::io::Result<Live> {
        Ok(Live {
            memory: Arc::clone(&running.memory),
            wake: running.wake.try_clone()?,
            remote: running.remote.clone(),
            clock: running.clock.clone(),
            image: running.image.clone(),
            process,
            health: Health::default(),
        })
    }

    /// Looks for signs of life: calls since the last look, else interrupts taken. Where there are none, raises an interrupt, whose
    /// handler steps the pulse before the next look.
    fn look(&mut self) {
        let status = self.memory.shared::<StatusPage>(layout::STATUS_PAGE);
        let calls = status.calls.load(Relaxed);
        let pulse = self.memory.shared::<AtomicU64>(layout::PULSE).load(Relaxed);
        let health = &mut self.health;
        if calls != health.calls || pulse != health.pulse {
            health.alive = SystemTime::now();
            health.missed = 0;
        } else {
            health.missed = health.missed.saturating_add(1);
            // The counter of an eventfd overflows only after 2^64 interrupts.
            let _ = self.wake.write(1);
        }
        (health.calls, health.pulse) = (calls, pulse);
    }
}
