//! The control loop, on the service cores: signals, the proxy's end, the LWK's end, the clock page.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use margay_abi::time::TimePage;
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::timerfd::TimerFd;

use super::proxy::Proxy;
use crate::lwk::clock::{self, ClockWriter};

/// Who ended first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The proxy: the program exited, or somebody killed it.
    Proxy,
    /// The vCPU: the LWK shut down or failed.
    Vcpu,
}

/// The signals that mean the program rather than the VMM.
const FORWARDED: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// [`FORWARDED`] as a set.
pub fn signal_set() -> libc::sigset_t {
    // SAFETY: the functions initialize and change a local set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in FORWARDED {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

/// The forwarded signals as a descriptor.
#[derive(Debug)]
pub struct SignalFd(File);

impl SignalFd {
    /// Blocks the signals in this thread and those it starts, and takes them from the descriptor instead.
    pub fn new() -> io::Result<SignalFd> {
        let set = signal_set();
        // SAFETY: the set is initialized.
        if unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the set is initialized; the result is checked.
        let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else owns.
        Ok(SignalFd(unsafe { File::from_raw_fd(fd) }))
    }

    /// Takes one signal.
    fn take(&self) -> io::Result<i32> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        (&self.0).read_exact(&mut info)?;
        // `ssi_signo` is the first field (signalfd(2)).
        Ok(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
    }
}

/// The loop's state.
pub struct Control<'a> {
    signals: &'a SignalFd,
    proxy: &'a Proxy,
    vcpu_done: RawFd,
    clock_timer: TimerFd,
    clock: ClockWriter,
    page: &'a TimePage,
    ended: Option<Ended>,
}

impl<'a> Control<'a> {
    /// A loop over these descriptors, that keeps `page` up to date with `clock`.
    pub fn new(
        signals: &'a SignalFd,
        proxy: &'a Proxy,
        vcpu_done: &EventFd,
        clock: &ClockWriter,
        page: &'a TimePage,
    ) -> io::Result<Control<'a>> {
        let mut clock_timer = TimerFd::new().map_err(from_errno)?;
        clock_timer.reset(clock::PERIOD, Some(clock::PERIOD)).map_err(from_errno)?;
        let vcpu_done = vcpu_done.as_raw_fd();
        Ok(Control {
            signals,
            proxy,
            vcpu_done,
            clock_timer,
            clock: clock.clone(),
            page,
            ended: None,
        })
    }

    /// Runs until somebody has ended.
    pub fn run(self) -> Result<Ended, event_manager::Error> {
        let mut manager = EventManager::new()?;
        let id = manager.add_subscriber(self);
        loop {
            manager.run()?;
            if let Some(ended) = manager.subscriber_mut(id)?.ended {
                return Ok(ended);
            }
        }
    }
}

impl MutEventSubscriber for Control<'_> {
    fn process(&mut self, events: Events, _: &mut EventOps<'_>) {
        let fd = events.fd();
        if fd == self.proxy.ended() {
            self.ended.get_or_insert(Ended::Proxy);
        } else if fd == self.vcpu_done {
            self.ended.get_or_insert(Ended::Vcpu);
        } else if fd == self.clock_timer.as_raw_fd() {
            let _ = self.clock_timer.wait();
            self.clock.update(self.page);
        } else if let Ok(signal) = self.signals.take() {
            // The proxy has the program's dispositions: it ignores what the program ignores, and else dies, which ends the run.
            self.proxy.signal(signal);
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        let fds = [
            self.signals.0.as_raw_fd(),
            self.proxy.ended(),
            self.vcpu_done,
            self.clock_timer.as_raw_fd(),
        ];
        for fd in fds {
            ops.add(Events::new_raw(fd, EventSet::IN))
                .expect("each descriptor is open and added once");
        }
    }
}

fn from_errno(error: vmm_sys_util::errno::Error) -> io::Error {
    io::Error::from_raw_os_error(error.errno())
}
