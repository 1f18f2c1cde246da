//! An LWK's place in a node: what its life is at, and the changes from outside.
//!
//! ```text
//!   Stopped <-> Changing <-> Ready -> Busy -> Changing -> Ready | Failed | Stopped
//! ```
//!
//! Whoever brings a slot into `Changing` or `Busy` owns its LWK until he brings it out again; nobody else waits with the lock
//! held, so that `ps` always answers.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::busy::Busy;
use super::status::LwkState;
use crate::lwk::log::Log;
use crate::lwk::{Lwk, LwkError};
use crate::memory::{Backing, GuestMemory};
use crate::partition::LwkPlan;
use crate::report::figures::Figures;

/// How long a program and its stand-in may take to end when they are told to: longer than every limit on the way.
const END_LIMIT: Duration = Duration::from_secs(20);

/// One LWK of a node.
#[derive(Debug)]
pub struct Slot {
    /// What it is made from.
    pub plan: LwkPlan,
    /// What is said about it.
    pub log: Arc<Log>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    life: Life,
    /// Its image, from the next rebuild on.
    image: PathBuf,
    /// Memory that is kept while the LWK is stopped, since the service VM shows it.
    kept: Option<Arc<GuestMemory>>,
    /// Stopped rather than rebuilt when its program has ended.
    stop: bool,
    rebuilds: u64,
    /// How the last program ended.
    last_end: Option<String>,
    /// What it counted.
    figures: Option<Figures>,
}

/// What an LWK is at.
#[derive(Debug)]
enum Life {
    Stopped,
    Ready(Box<Lwk>),
    Busy(Arc<Busy>),
    /// Being built, rebuilt or taken down.
    Changing,
    Failed {
        reason: String,
        lwk: Option<Box<Lwk>>,
    },
}

/// Why an LWK cannot run a program now.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// It runs one.
    #[error(
        "{lwk} is busy: it runs {program}; wait, use another LWK (`--lwk`), or `margay restart {lwk}`"
    )]
    Busy {
        /// The LWK.
        lwk: String,
        /// Its program.
        program: String,
    },
    /// It was stopped.
    #[error("{0} is stopped; start it with `margay restart {0}`")]
    Stopped(String),
    /// It cannot be built.
    #[error("{lwk} has failed: {reason}; `margay restart {lwk}` tries again")]
    Failed {
        /// The LWK.
        lwk: String,
        /// Why.
        reason: String,
    },
    /// It did not come to rest.
    #[error("{0} does not come to rest; `margay log {0}` may say why")]
    Stuck(String),
}

impl Slot {
    /// A slot without its LWK; [`Slot::restart`] builds it. With `kept` it always uses this memory.
    pub fn new(
        plan: &LwkPlan,
        image: PathBuf,
        log: Arc<Log>,
        kept: Option<Arc<GuestMemory>>,
    ) -> Slot {
        let state = State {
            life: Life::Stopped,
            image,
            kept,
            stop: false,
            rebuilds: 0,
            last_end: None,
            figures: None,
        };
        Slot { plan: plan.clone(), log, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Takes the LWK for a program.
    ///
    /// # Errors
    /// [`Unavailable`]
    pub fn claim(&self, busy: &Arc<Busy>) -> Result<Box<Lwk>, Unavailable> {
        // A caller whose program has just ended may come back before the node has seen that end.
        let mut state = self.at_rest(|life| match life {
            Life::Changing => false,
            Life::Busy(busy) => !busy.is_ending(),
            _ => true,
        })?;
        match std::mem::replace(&mut state.life, Life::Changing) {
            Life::Ready(mut lwk) => {
                lwk.note_request();
                state.life = Life::Busy(Arc::clone(busy));
                Ok(lwk)
            }
            other => {
                state.life = other;
                Err(self.unavailable(&state.life))
            }
        }
    }

    /// Gives the LWK back when its program has ended, or never began. It is rebuilt before it is ready again.
    pub fn release(&self, lwk: Box<Lwk>, end: String) {
        let stop = {
            let mut state = self.lock();
            state.life = Life::Changing;
            state.last_end = Some(end);
            std::mem::take(&mut state.stop)
        };
        if stop {
            self.settle(Life::Stopped)
        } else {
            self.build(Some(lwk))
        };
    }

    /// Gives back an LWK that was claimed and has not started; it may have been stopped meanwhile.
    pub fn give_back(&self, lwk: Box<Lwk>) {
        let stop = std::mem::take(&mut self.lock().stop);
        self.settle(if stop { Life::Stopped } else { Life::Ready(lwk) });
    }

    /// Boots the LWK anew, from `image` if one is given; a program that runs is ended with `reason`. Returns how long it was
    /// away.
    ///
    /// # Errors
    /// [`Unavailable`]
    pub fn restart(&self, image: Option<PathBuf>, reason: &str) -> Result<Duration, Unavailable> {
        let start = Instant::now();
        let mut state = self.at_rest(|life| !matches!(life, Life::Changing))?;
        if let Some(image) = image {
            state.image = image;
        }
        if let Life::Busy(busy) = &state.life {
            busy.cancel.cancel(reason);
            drop(state);
            // Whoever sees the program through rebuilds its LWK.
            state = self.at_rest(|life| !matches!(life, Life::Changing | Life::Busy(_)))?;
        } else {
            let lwk = match std::mem::replace(&mut state.life, Life::Changing) {
                Life::Ready(lwk) => Some(lwk),
                Life::Failed { lwk, .. } => lwk,
                _ => None,
            };
            drop(state);
            self.build(lwk);
            state = self.lock();
        }
        match &state.life {
            Life::Failed { .. } => Err(self.unavailable(&state.life)),
            _ => Ok(start.elapsed()),
        }
    }

    /// Stops the LWK and frees its memory; a program that runs is ended with `reason`.
    ///
    /// # Errors
    /// [`Unavailable`]
    pub fn stop(&self, reason: &str) -> Result<(), Unavailable> {
        let mut state = self.at_rest(|life| !matches!(life, Life::Changing))?;
        if let Life::Busy(busy) = &state.life {
            busy.cancel.cancel(reason);
            state.stop = true;
            drop(state);
            drop(self.at_rest(|life| !matches!(life, Life::Changing | Life::Busy(_)))?);
        } else {
            state.life = Life::Stopped;
        }
        Ok(())
    }

    /// The program that runs, if one does.
    pub fn busy(&self) -> Option<Arc<Busy>> {
        match &self.lock().life {
            Life::Busy(busy) => Some(Arc::clone(busy)),
            _ => None,
        }
    }

    /// What it is at.
    pub fn state(&self) -> LwkState {
        match &self.lock().life {
            Life::Stopped => LwkState::Stopped,
            Life::Ready(_) => LwkState::Ready,
            Life::Busy(busy) => busy.state(),
            Life::Changing => LwkState::Booting,
            Life::Failed { reason, .. } => LwkState::Failed { reason: reason.clone() },
        }
    }

    /// How often it was rebuilt, and how its last program ended.
    pub fn history(&self) -> (u64, Option<String>) {
        let state = self.lock();
        (state.rebuilds, state.last_end.clone())
    }

    /// Keeps what a program counted that has ended.
    pub fn note_figures(&self, figures: Figures) {
        self.lock().figures = Some(figures);
    }

    /// What the last program counted that has ended.
    pub fn figures(&self) -> Option<Figures> {
        self.lock().figures.clone()
    }

    /// Page size of its memory, while nothing runs.
    pub fn backing(&self) -> Option<Backing> {
        match &self.lock().life {
            Life::Ready(lwk) => Some(lwk.memory().backing().clone()),
            _ => None,
        }
    }

    /// Builds or rebuilds; the slot is `Changing`.
    fn build(&self, lwk: Option<Box<Lwk>>) {
        let (image, kept) = {
            let mut state = self.lock();
            state.rebuilds += 1;
            (state.image.clone(), state.kept.clone())
        };
        let built = match lwk {
            Some(mut lwk) => {
                lwk.set_image(image);
                let rebuilt = lwk.rebuild();
                Ok((lwk, rebuilt.err()))
            }
            None => Lwk::new(&self.plan, &image, &self.log, kept).map(|lwk| (Box::new(lwk), None)),
        };
        let failed = |error: LwkError, lwk| {
            let reason = error.to_string();
            self.log.report(&format!("margay: {} cannot be booted: {reason}\n", self.name()));
            Life::Failed { reason, lwk }
        };
        self.settle(match built {
            Ok((lwk, None)) => Life::Ready(lwk),
            Ok((lwk, Some(error))) => failed(error, Some(lwk)),
            Err(error) => failed(error, None),
        });
    }

    fn settle(&self, life: Life) {
        self.lock().life = life;
        self.changed.notify_all();
    }

    /// Waits until the life is as wished.
    fn at_rest(
        &self,
        wished: impl Fn(&Life) -> bool,
    ) -> Result<MutexGuard<'_, State>, Unavailable> {
        let waited =
            self.changed.wait_timeout_while(self.lock(), END_LIMIT, |state| !wished(&state.life));
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            Err(Unavailable::Stuck(self.name().to_owned()))
        } else {
            Ok(state)
        }
    }

    fn unavailable(&self, life: &Life) -> Unavailable {
        let lwk = self.name().to_owned();
        match life {
            Life::Stopped => Unavailable::Stopped(lwk),
            Life::Busy(busy) => Unavailable::Busy { lwk, program: busy.describe() },
            Life::Failed { reason, .. } => Unavailable::Failed { lwk, reason: reason.clone() },
            Life::Ready(_) | Life::Changing => Unavailable::Stuck(lwk),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
