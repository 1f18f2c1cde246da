//! A proxy in the service VM: reached over its agent, while its command on this host passes on streams and signals.
//!
//! Also the bridge of its doorbells: what rings on this side is an eventfd of KVM's, in the VM a byte on a stream.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use margay_protocol::agent::{Ending, Event, Order};
use margay_protocol::frame;
use margay_protocol::proxy::ToProxy;
use vmm_sys_util::eventfd::EventFd;

use super::stand_in::{Notice, StandIn};
use crate::control::message::FromRelay;

/// A proxy in the service VM.
#[derive(Debug)]
pub struct RemoteProxy {
    /// To the agent; none once it has said that the proxy has ended, or the VM has.
    session: Option<UnixStream>,
    /// To the command; none once it has gone.
    command: Option<UnixStream>,
    bells: Option<Bells>,
}

/// The two sides of a proxy's doorbells.
#[derive(Debug)]
pub struct Bells {
    /// The proxy's side.
    pub stream: UnixStream,
    /// Rung by the LWK.
    pub kick: EventFd,
    /// Rings the LWK.
    pub wake: EventFd,
}

impl Bells {
    /// Rings never wait: a proxy that does not take them has enough of them already.
    ///
    /// # Errors
    /// Linux's.
    pub fn new(stream: UnixStream, kick: EventFd, wake: EventFd) -> io::Result<Bells> {
        stream.set_nonblocking(true)?;
        Ok(Bells { stream, kick, wake })
    }

    /// Passes a ring of the LWK on. Whether the proxy's side is still there.
    fn kick(&mut self) -> bool {
        // Readable, so this does not wait.
        let _ = self.kick.read();
        is_open(self.stream.write(&1_u64.to_ne_bytes()))
    }

    /// Passes a ring of the proxy on. Whether the proxy's side is still there.
    fn wake(&mut self) -> bool {
        let open = is_open(self.stream.read(&mut [0; 64]));
        // The counter of an eventfd overflows only after 2^64 rings.
        let _ = self.wake.write(1);
        open
    }
}

/// Whether a stream that gave this result is still open.
fn is_open(result: io::Result<usize>) -> bool {
    match result {
        Ok(bytes) => bytes > 0,
        Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
    }
}

impl RemoteProxy {
    /// The proxy of `session`, for the command at the other end of `command`.
    pub fn new(session: UnixStream, command: UnixStream, bells: Option<Bells>) -> RemoteProxy {
        RemoteProxy { session: Some(session), command: Some(command), bells }
    }

    fn order(&mut self, order: &Order) {
        if let Some(session) = &self.session {
            // An agent that is gone ends the session, which is noticed there.
            let _ = frame::write(session, order);
        }
    }

    /// Takes a message of the agent.
    fn hear_agent(&mut self) -> Notice {
        let Some(session) = &self.session else { return Notice::Nothing };
        match frame::read(session) {
            Ok(Event::Proxy(_)) => Notice::Where,
            Ok(Event::Ended(ending)) => self.over(Some(ending)),
            Ok(_) => Notice::Nothing,
            Err(_) => self.over(None),
        }
    }

    /// Takes a message of the command. When it is gone the agent kills the proxy, since the session ends.
    fn hear_command(&mut self) -> Notice {
        let Some(command) = &self.command else { return Notice::Nothing };
        match frame::read(command) {
            Ok(FromRelay::Signal(signal)) => self.order(&Order::Signal(signal)),
            Ok(FromRelay::Resize(window)) => self.order(&Order::Resize(window)),
            Err(_) => {
                self.command = None;
                return self.over(Some(Ending::Signaled(libc::SIGKILL)));
            }
        }
        Notice::Nothing
    }

    fn over(&mut self, ending: Option<Ending>) -> Notice {
        self.session = None;
        self.bells = None;
        Notice::Ended(ending)
    }
}

impl StandIn for RemoteProxy {
    fn process(&self) -> Option<OwnedFd> {
        None
    }

    fn sources(&self) -> Vec<RawFd> {
        let mut sources: Vec<RawFd> =
            [&self.session, &self.command].into_iter().flatten().map(AsRawFd::as_raw_fd).collect();
        if let Some(bells) = &self.bells {
            sources.extend([bells.stream.as_raw_fd(), bells.kick.as_raw_fd()]);
        }
        sources
    }

    fn ready(&mut self, source: RawFd) -> Notice {
        let is = |stream: &Option<UnixStream>| {
            stream.as_ref().is_some_and(|stream| stream.as_raw_fd() == source)
        };
        if is(&self.session) {
            return self.hear_agent();
        }
        if is(&self.command) {
            return self.hear_command();
        }
        if let Some(bells) = &mut self.bells {
            let open = if bells.kick.as_raw_fd() == source { bells.kick() } else { bells.wake() };
            if !open {
                self.bells = None;
            }
        }
        Notice::Nothing
    }

    fn tell_place(&mut self, text: &str) {
        self.order(&Order::Proxy(ToProxy::Report { text: text.to_owned() }));
    }

    /// Tells it; the end of the session kills one that does not listen.
    fn end(&mut self, message: &str) {
        const PATIENCE: Duration = Duration::from_secs(1);
        if self.session.is_some() {
            self.order(&Order::Proxy(ToProxy::End { message: message.to_owned(), status: 125 }));
            let _ = self.wait(PATIENCE, &String::new);
        }
        self.over(None);
    }
}
