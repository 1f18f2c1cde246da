//! One program in one LWK, from its launch to its end: the same for every kind of stand-in.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use margay_abi::status::Fault;
use margay_protocol::Launch;
use margay_protocol::agent::Ending;

use vmm_sys_util::eventfd::EventFd;

use super::busy::{Busy, Live};
use super::poll;
use super::stand_in::{Notice, StandIn};
use crate::lwk::log::Log;
use crate::lwk::vcpu::End;
use crate::lwk::{Finished, Lwk, LwkError, Running, Statistics};
use crate::report::crash;

/// How long a stand-in may take to end after its LWK has.
const STAND_IN_DEADLINE: Duration = Duration::from_secs(5);
/// No limit: what is waited for may take as long as the program runs.
const FOREVER: Duration = Duration::MAX;

/// A wish to end a program from outside.
#[derive(Debug)]
pub struct Cancel {
    event: EventFd,
    reason: OnceLock<String>,
}

impl Cancel {
    /// Nothing wished yet.
    ///
    /// # Errors
    /// No descriptors.
    pub fn new() -> std::io::Result<Cancel> {
        let event = EventFd::new(libc::EFD_CLOEXEC)?;
        Ok(Cancel { event, reason: OnceLock::new() })
    }

    /// Ends the program; the first `reason`, whole lines, is what its user reads.
    pub fn cancel(&self, reason: &str) {
        self.reason.get_or_init(|| reason.to_owned());
        // The counter of an eventfd overflows only after 2^64 wishes.
        let _ = self.event.write(1);
    }
}

/// What to start, and how.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The program, whose stand-in is there.
    pub launch: &'a Launch,
    /// How long its proxy polls before it sleeps.
    pub spin: Duration,
    /// Whether its calls are timed.
    pub statistics: Statistics,
}

/// Runs a program in `lwk` to its end. Reports go to the log.
///
/// # Errors
/// It could not be started: [`LwkError`]; then its stand-in has not been told.
pub fn run(
    lwk: &mut Lwk,
    start: &Start<'_>,
    busy: &Busy,
    (stand_in, log): (&mut dyn StandIn, &Log),
) -> Result<Ended, LwkError> {
    let running = lwk.launch(start.launch, start.spin, start.statistics)?;
    let live = Live::of(&running, stand_in.process());
    let live = live.map_err(|source| LwkError::System { what: "copy an eventfd", source })?;
    busy.launched(start.launch.pid, live);
    let program = Path::new(&start.launch.path.0);
    let ended = see_through(running, stand_in, &busy.cancel, (program, log));
    busy.ended();
    if let Some(report) = ended.report(start.launch.pid, program) {
        log.report(&report);
    }
    Ok(ended)
}

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// What its LWK left.
    pub finished: Finished,
    /// How its stand-in ended, if that is known.
    pub ending: Option<Ending>,
    /// Margay's or the LWK's failure, in whole lines, if it was none of the program's.
    pub failure: Option<String>,
}

/// What came first.
enum First {
    Vcpu,
    StandIn(Option<Ending>),
    Cancelled(String),
}

/// Waits for the end of a program and brings its other side to an end too.
fn see_through(
    running: Running,
    stand_in: &mut dyn StandIn,
    cancel: &Cancel,
    (program, log): (&Path, &Log),
) -> Ended {
    let first = wait(&running, stand_in, cancel, program);
    let kick = running.kick.try_clone();
    let finished = running.finish();
    let (ending, failure) = match first {
        First::Cancelled(reason) => {
            stand_in.end(&reason);
            (None, Some(reason))
        }
        _ if finished.crashed() => {
            let report = crash::kernel(&finished);
            stand_in.end(&report);
            (None, Some(report))
        }
        First::StandIn(ending) => (ending, None),
        First::Vcpu => {
            // A mad LWK may not have rung, so this rings once more.
            let _ = kick.map(|kick| kick.write(1));
            match stand_in.wait(STAND_IN_DEADLINE, &|| finished.report_place(program)) {
                Some(ending) => (ending, None),
                None => {
                    let report = "margay: the LWK has ended but its proxy did not within 5 s; it was killed\n";
                    stand_in.end(report);
                    (None, Some(report.to_owned()))
                }
            }
        }
    };
    if let Some(failure) = &failure {
        log.report(failure);
    }
    Ended { finished, ending, failure }
}

fn wait(running: &Running, stand_in: &mut dyn StandIn, cancel: &Cancel, program: &Path) -> First {
    let (done, cancelled) = (running.done().as_raw_fd(), cancel.event.as_raw_fd());
    loop {
        let mut sources = stand_in.sources();
        sources.extend([done, cancelled]);
        let ready = poll::readable(&sources, FOREVER);
        if ready.contains(&cancelled) {
            return First::Cancelled(cancel.reason.get().cloned().unwrap_or_default());
        }
        for &source in ready.iter().filter(|&&source| source != done) {
            match stand_in.ready(source) {
                Notice::Nothing => {}
                Notice::Where => stand_in.tell_place(&running.report_place(program)),
                Notice::Ended(ending) => return First::StandIn(ending),
            }
        }
        if ready.contains(&done) {
            return First::Vcpu;
        }
    }
}

impl Ended {
    /// In a few words, for `ps`.
    pub fn describe(&self, busy: &Busy) -> String {
        let how = match (&self.failure, self.ending) {
            (Some(failure), _) => failure.lines().next().unwrap_or_default().to_owned(),
            (None, Some(Ending::Exited(status))) => format!("exited with {status}"),
            (None, Some(Ending::Signaled(signal))) => format!("ended by signal {signal}"),
            (None, None) if self.has_faulted() => {
                let signal = self.finished.status().signal.load(Relaxed);
                format!("died by signal {signal} ({})", crash::signal_name(signal))
            }
            (None, None) if self.finished.outcome.end == End::Shutdown => "ended".to_owned(),
            (None, None) => "its proxy has gone".to_owned(),
        };
        format!("{}: {how}", busy.describe())
    }

    /// What to tell a user whose program ended by a fault or an unexpected signal; nothing for a failure, which was told.
    fn report(&self, pid: u32, program: &Path) -> Option<String> {
        if self.failure.is_some() {
            return None;
        }
        // Ctrl-\, as other run-times have it, asks where the program is and ends it.
        let asked = self.ending == Some(Ending::Signaled(libc::SIGQUIT));
        if asked && self.finished.outcome.end == End::Stopped {
            Some(crash::kernel(&self.finished))
        } else {
            // Also where nobody can know how the stand-in ended: the LWK knows.
            crash::fault(&self.finished.memory, program)
                .or_else(|| crash::signal(self.ending?, pid, &self.finished.outcome.end))
        }
    }

    /// Whether the program died by a fault of its own.
    fn has_faulted(&self) -> bool {
        Fault::from_u32(self.finished.status().fault.load(Relaxed)) == Fault::Program
    }
}
