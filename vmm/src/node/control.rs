//! The control loop, on the service cores: signals, clocks and signs of life, connections, the end.

use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use event_manager::{EventManager, EventOps, EventSet, Events, MutEventSubscriber, SubscriberOps};
use vmm_sys_util::eventfd::EventFd;
use vmm_sys_util::timerfd::TimerFd;

use super::signals::SignalFd;
use super::{Node, session};
use crate::lwk::clock;

/// What a node's loop listens to, besides its own timer.
pub struct Sources<'a> {
    /// Signals.
    pub signals: &'a SignalFd,
    /// What to do with one.
    pub on_signal: &'a mut dyn FnMut(i32),
    /// Where commands connect, if they can.
    pub listener: Option<&'a UnixListener>,
    /// Ends the loop.
    pub quit: &'a EventFd,
}

/// Runs until [`Sources::quit`] is rung.
///
/// # Errors
/// The event manager's.
pub fn run<'a>(node: &'a Arc<Node>, sources: Sources<'a>) -> Result<(), event_manager::Error> {
    let mut timer = TimerFd::new().map_err(errno)?;
    timer.reset(clock::PERIOD, Some(clock::PERIOD)).map_err(errno)?;
    let mut manager = EventManager::new()?;
    let id = manager.add_subscriber(Loop { node, sources, timer, done: false });
    while !manager.subscriber_mut(id)?.done {
        manager.run()?;
    }
    Ok(())
}

fn errno(error: vmm_sys_util::errno::Error) -> event_manager::Error {
    event_manager::Error::Epoll(error)
}

struct Loop<'a> {
    node: &'a Arc<Node>,
    sources: Sources<'a>,
    timer: TimerFd,
    done: bool,
}

impl Loop<'_> {
    fn accept(&self) {
        // A connection that failed before it was accepted concerns nobody.
        let Some(Ok((stream, _))) = self.sources.listener.map(UnixListener::accept) else { return };
        let node = Arc::clone(self.node);
        let name = "session".to_owned();
        // Without a thread the connection is closed, which the command reports.
        let _ = std::thread::Builder::new().name(name).spawn(move || session::serve(&node, stream));
    }
}

impl MutEventSubscriber for Loop<'_> {
    fn process(&mut self, events: Events, _: &mut EventOps<'_>) {
        let fd = events.fd();
        if fd == self.sources.quit.as_raw_fd() {
            self.done = true;
        } else if fd == self.timer.as_raw_fd() {
            let _ = self.timer.wait();
            self.node.tick();
        } else if fd == self.sources.signals.as_raw_fd() {
            if let Ok(signal) = self.sources.signals.take() {
                (self.sources.on_signal)(signal);
            }
        } else {
            self.accept();
        }
    }

    fn init(&mut self, ops: &mut EventOps<'_>) {
        let own: [RawFd; 3] = [
            self.sources.quit.as_raw_fd(),
            self.timer.as_raw_fd(),
            self.sources.signals.as_raw_fd(),
        ];
        let listener = self.sources.listener.map(AsRawFd::as_raw_fd);
        for fd in own.into_iter().chain(listener) {
            ops.add(Events::new_raw(fd, EventSet::IN))
                .expect("each descriptor is open and added once");
        }
    }
}
