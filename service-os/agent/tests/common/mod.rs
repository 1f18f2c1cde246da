//! The node's side of an agent that serves on a Unix socket, as a child of the test.

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use margay_protocol::agent::{Ending, Event, Hello, Order, Place, Start, Stream, WindowSize};
use margay_protocol::frame;
use nix::unistd::{getgid, getuid};

/// Longer than anything here takes, shorter than a tester's patience.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The three streams of a program without a terminal.
pub const STDIO: [Stream; 3] = [Stream::Stdin, Stream::Stdout, Stream::Stderr];

/// A running agent.
pub struct Agent {
    pub process: Child,
    socket: PathBuf,
    sessions: AtomicU64,
    _folder: tempfile::TempDir,
}

impl Agent {
    /// Starts one and waits until it listens.
    pub fn start() -> Agent {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let mut command = Command::new(env!("CARGO_BIN_EXE_margay-agent"));
        let process = command.arg("--socket").arg(&socket).spawn().unwrap();
        let agent = Agent { process, socket, sessions: AtomicU64::new(1), _folder: folder };
        wait_until("the agent listens", || UnixStream::connect(&agent.socket).is_ok());
        agent
    }

    /// A connection that says `hello`.
    pub fn connect(&self, hello: Hello) -> UnixStream {
        let connection = UnixStream::connect(&self.socket).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        frame::write(&connection, &hello).unwrap();
        connection
    }

    /// A session with these streams, before its order.
    pub fn session(&self, streams: &[Stream]) -> Session {
        let id = self.sessions.fetch_add(1, Ordering::Relaxed);
        let connection = self.connect(Hello::Session { id });
        let connect = |&stream| (stream, self.connect(Hello::Stream { id, stream }));
        Session { connection, streams: streams.iter().map(connect).collect() }
    }

    /// Starts a program on this Linux.
    pub fn run(&self, args: &[&str]) -> Session {
        let mut session = self.session(&STDIO);
        session.order(&Order::Start(start(args, &STDIO)));
        session.started();
        session
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An order to start `args` on this Linux, as whoever runs the tests.
pub fn start(args: &[&str], streams: &[Stream]) -> Start {
    Start {
        place: Place::Linux,
        args: args.iter().map(Into::into).collect(),
        env: vec!["PATH=/bin:/usr/bin".into(), "GREETING=hello".into()],
        directory: "/usr".into(),
        user: (getuid().as_raw(), getgid().as_raw()),
        streams: streams.to_vec(),
        window: Some(WindowSize { rows: 33, columns: 77 }),
    }
}

/// The node's ends of a session.
pub struct Session {
    pub connection: UnixStream,
    streams: HashMap<Stream, UnixStream>,
}

impl Session {
    pub fn order(&mut self, order: &Order) {
        frame::write(&self.connection, order).unwrap();
    }

    pub fn event(&mut self) -> Event {
        frame::read(&self.connection).unwrap()
    }

    /// The process id of a program that must have started.
    pub fn started(&mut self) -> u32 {
        match self.event() {
            Event::Started(pid) => pid,
            event => panic!("{event:?}"),
        }
    }

    pub fn ending(&mut self) -> Ending {
        match self.event() {
            Event::Ended(ending) => ending,
            event => panic!("{event:?}"),
        }
    }

    pub fn stream(&self, stream: Stream) -> &UnixStream {
        &self.streams[&stream]
    }

    /// Closes a stream.
    pub fn close(&mut self, stream: Stream) {
        self.streams.remove(&stream).unwrap();
    }

    /// All that a stream brings until it ends.
    pub fn text(&mut self, stream: Stream) -> String {
        let mut text = String::new();
        self.streams.remove(&stream).unwrap().read_to_string(&mut text).unwrap();
        text
    }

    /// Reads until `text` has come, and returns all that has.
    pub fn await_text(&mut self, stream: Stream, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            let so_far = String::from_utf8_lossy(&seen);
            if so_far.contains(text) {
                return so_far.into_owned();
            }
            let mut piece = [0; 256];
            let count = self.stream(stream).read(&mut piece).unwrap();
            assert!(count > 0, "{:?}", String::from_utf8_lossy(&seen));
            seen.extend(&piece[..count]);
        }
    }
}

/// Whether a process lives; a zombie does not.
pub fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
