//! A session: one program, from the node's order to its end.
//!
//! Its connection is the program's life line: when it ends, for whatever reason, what is left of the program is killed. Three threads
//! write or read it: this one takes orders, one waits for the program's end, and one passes on what a proxy asks.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use margay_protocol::agent::{Ending, Event, Order, Start};
use margay_protocol::frame::{self, FrameError};
use margay_protocol::proxy::FromProxy;
use nix::sys::socket::{Shutdown, shutdown};

use crate::children::Child;
use crate::console::say;
use crate::launch::{self, Running};
use crate::refusal::Refusal;
use crate::service::Service;
use crate::terminal::Terminal;

/// Serves a session to its end.
pub fn serve(connection: File, id: u64, service: &Arc<Service>) {
    let mut session = Session { events: Arc::new(Events::new(connection)), id, program: None };
    let ended = session.take_orders(service);
    if let Err(error) = ended {
        say(&format!("session {id} ends: {}", error));
    }
    if let Some(program) = &session.program {
        program.child.kill_group();
    }
    service.streams.discard(id);
}

struct Session {
    events: Arc<Events>,
    id: u64,
    program: Option<Program>,
}

/// What orders are about.
struct Program {
    child: Child,
    terminal: Option<Terminal>,
    control: Option<UnixStream>,
}

impl Session {
    /// Until the node closes.
    fn take_orders(&mut self, service: &Arc<Service>) -> Result<(), FrameError> {
        loop {
            let order = match frame::read(self.events.connection()) {
                Err(FrameError::Closed) => return Ok(()),
                order => order?,
            };
            match (order, &self.program) {
                (Order::Start(start), None) => self.start(start, service),
                (Order::Start(_), Some(_)) => say("a session has one program; another is refused"),
                (Order::Signal(signal), Some(program)) => program.child.signal(signal),
                (Order::Resize(size), Some(Program { terminal: Some(terminal), .. })) => {
                    terminal.resize(size);
                }
                (Order::Proxy(message), Some(Program { control: Some(control), .. })) => {
                    // A proxy that has ended needs no message.
                    let _ = frame::write(control, &message);
                }
                // Not started, or without what the order is about.
                (Order::Signal(_) | Order::Resize(_) | Order::Proxy(_), _) => {}
            }
        }
    }

    fn start(&mut self, start: Start, service: &Arc<Service>) {
        let running = service
            .streams
            .take(self.id, &start.streams)
            .map_err(Refusal::missing)
            .and_then(|streams| launch::launch(start, streams, service));
        match running {
            Ok(running) => {
                if let Err(error) = self.follow(running) {
                    self.events.last(Refusal::cannot("follow a program", &error).into());
                }
            }
            Err(refusal) => self.events.last(refusal.into()),
        }
    }

    /// Tells the node, and starts the threads that tell it the rest.
    fn follow(&mut self, running: Running) -> io::Result<()> {
        let Running { child, ended, terminal, control, started } = running;
        let (terminal, carrier) = terminal.unzip();
        let questions = control.as_ref().map(UnixStream::try_clone).transpose()?;
        // From here on the end of the session kills it.
        self.program = Some(Program { child, terminal, control });
        self.events.tell(&started);
        let events = self.events.clone();
        thread::Builder::new().spawn(move || await_end(&ended, carrier, &events))?;
        if let Some(control) = questions {
            let events = self.events.clone();
            thread::Builder::new().spawn(move || pass_on(&control, &events))?;
        }
        Ok(())
    }
}

/// The end is told when all that the program wrote to its terminal is on its way.
fn await_end(ended: &Receiver<Ending>, carrier: Option<JoinHandle<()>>, events: &Events) {
    // The sender is dropped only when the end was told.
    let Ok(ending) = ended.recv() else { return };
    if let Some(carrier) = carrier {
        let _ = carrier.join();
    }
    events.last(Event::Ended(ending));
}

/// What the proxy asks, until it ends.
fn pass_on(control: &UnixStream, events: &Events) {
    while let Ok(question) = frame::read::<FromProxy>(control) {
        events.tell(&Event::Proxy(question));
    }
}

/// The session's connection, as that to which several threads write.
struct Events {
    connection: File,
    writing: Mutex<()>,
}

impl Events {
    fn new(connection: File) -> Events {
        Events { connection, writing: Mutex::new(()) }
    }

    fn connection(&self) -> &File {
        &self.connection
    }

    /// A node that is gone is noticed where its orders are read.
    fn tell(&self, event: &Event) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = frame::write(&self.connection, event);
    }

    /// Nothing follows.
    fn last(&self, event: Event) {
        self.tell(&event);
        let _ = shutdown(self.connection.as_raw_fd(), Shutdown::Write);
    }
}
