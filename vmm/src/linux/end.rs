//! How a Linux guest ends, and how everybody learns of it.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use vmm_sys_util::eventfd::EventFd;

/// How a Linux guest ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinuxEnd {
    /// It switched itself off (ACPI S5).
    PoweredOff,
    /// It reset itself: a reboot, or a panic, for which the command line asks for a reboot at once.
    Reset,
    /// It was stopped by [`super::LinuxVm::stop`].
    Stopped,
    /// It, KVM or the VMM failed: how.
    Failed(String),
}

/// The end of one guest: happens once, whoever brings it about.
#[derive(Debug)]
pub(super) struct Ending {
    end: OnceLock<LinuxEnd>,
    event: EventFd,
    stop: AtomicBool,
}

impl Ending {
    /// The end of a guest that begins.
    pub(super) fn new() -> io::Result<Ending> {
        let event = EventFd::new(libc::EFD_CLOEXEC | libc::EFD_NONBLOCK)?;
        Ok(Ending { end: OnceLock::new(), event, stop: AtomicBool::new(false) })
    }

    /// The guest ends like this, unless it has ended already.
    pub(super) fn set(&self, end: LinuxEnd) {
        if self.end.set(end).is_ok() {
            self.stop.store(true, Ordering::Release);
            // An eventfd's counter does not overflow by one.
            let _ = self.event.write(1);
        }
    }

    /// How it ended.
    pub(super) fn get(&self) -> Option<LinuxEnd> {
        self.end.get().cloned()
    }

    /// Whether it has ended: every thread of the guest is to return.
    pub(super) fn is_set(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Readable from the end on. Nobody reads it.
    pub(super) fn event(&self) -> &EventFd {
        &self.event
    }
}

/// Ends the guest if the thread that holds this panics: a guest without one of its threads would only hang.
pub(super) struct EndOnPanic<'a>(pub &'a Ending);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let name = std::thread::current().name().unwrap_or("?").to_owned();
            self.0.set(LinuxEnd::Failed(format!("the VMM's thread {name} panicked")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EndOnPanic, Ending, LinuxEnd};

    #[test]
    fn the_first_end_counts() {
        let ending = Ending::new().unwrap();
        assert!(!ending.is_set() && ending.event().read().is_err());
        ending.set(LinuxEnd::Reset);
        ending.set(LinuxEnd::PoweredOff);
        assert_eq!(ending.get(), Some(LinuxEnd::Reset));
        assert_eq!(ending.event().read().unwrap(), 1);
    }

    #[test]
    fn a_panic_ends_the_guest() {
        let ending = Ending::new().unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let _guard = EndOnPanic(&ending);
                panic!("as the test wants");
            });
            assert!(thread.join().is_err());
        });
        assert!(matches!(ending.get(), Some(LinuxEnd::Failed(_))));
    }
}
