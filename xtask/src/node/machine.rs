//! QEMU, and the bytes that go in and out of it.
//!
//! Each port of the node is a Unix socket to which QEMU connects. A thread of ours carries each; all report to the
//! main thread, which decides when the command is done. The machine does not power itself off: what QEMU has not yet
//! delivered would be lost. We end it once every stream has come to its marker.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::Shutdown,
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use super::{
    BootMessages, Job,
    kernel::Kernel,
    marker::{Piece, UntilMarker},
};
use crate::{command::line, error::Error};

/// AMD's SVM with nested paging. Without `la57`, user space and kernel are where a common machine has them. Without `erms` and `fsrm`,
/// Linux clears and copies memory by words: QEMU emulates `rep stosb` byte by byte, and clearing large pages takes six times as long.
const CPU: &str = "max,+svm,+npt,-la57,-erms,-fsrm";
/// Lines of the console that an error report shows.
const CONSOLE_LINES: usize = 60;
/// The shell's status of a program that a closed stdout killed: 128 + SIGPIPE.
const OUTPUT_CLOSED: u8 = 141;

/// Why a node did not come to the end of its command.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// Too slow or stuck.
    #[error(
        "the virtual node was stopped: its command was not done after {} s (see --timeout)\n{console}",
        limit.as_secs()
    )]
    TimedOut {
        /// The limit.
        limit: Duration,
        /// The console's last lines.
        console: String,
    },
    /// QEMU ended by itself: it could not start, or the node's kernel panicked.
    #[error("the virtual node died before its command was done\n{console}")]
    Died {
        /// The console's and QEMU's last lines.
        console: String,
    },
}

/// What a carrying thread reports.
enum Event {
    /// A line of the console, or of QEMU's own messages.
    Console(String),
    /// stdout or stderr is complete.
    StreamDone,
    /// Nobody reads our stdout or stderr any more.
    OutputClosed,
    /// The command's exit status.
    Status(u8),
    /// QEMU is gone.
    Gone,
}

/// Runs `job` to its end and returns the command's exit status.
pub fn run(job: &Job, kernel: &Kernel, initramfs: &[u8], marker: &[u8]) -> Result<u8, Error> {
    let dir = tempfile::tempdir().map_err(Error::io("create", &std::env::temp_dir()))?;
    let initrd = dir.path().join("initramfs");
    std::fs::write(&initrd, initramfs).map_err(Error::io("write", &initrd))?;
    let ports = Ports::listen(dir.path())?;
    let mut qemu = qemu(job, kernel, dir.path());
    let child = qemu.spawn().map_err(|source| Error::Spawn { command: line(&qemu), source })?;
    let mut machine = Machine(child);
    let (sender, events) = channel();
    ports.carry(machine.0.stderr.take(), marker, &sender);
    drop(sender);
    Watch { console: VecDeque::new(), messages: job.boot_messages }.until_done(job, &events)
}

/// The running QEMU; ended when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn qemu(job: &Job, kernel: &Kernel, dir: &Path) -> Command {
    // setpriv: whatever ends us ends the machine.
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", CPU, "-m", &job.memory]);
    qemu.args(["-smp", &job.cpus.to_string(), "-nodefaults", "-no-user-config", "-no-reboot"]);
    qemu.args(["-display", "none", "-kernel"]).arg(&kernel.image);
    qemu.arg("-initrd").arg(dir.join("initramfs"));
    // mitigations=off: they cost much time under emulation and guard nothing here.
    let quiet = if job.boot_messages == BootMessages::Show { "" } else { " quiet" };
    qemu.args(["-append", &format!("console=ttyS0 panic=1 mitigations=off{quiet}")]);
    for name in Ports::NAMES {
        let path = dir.join(name);
        qemu.args(["-chardev", &format!("socket,id={name},path={}", path.display())]);
    }
    qemu.args(["-serial", "chardev:console", "-device", "virtio-serial-pci,max_ports=5"]);
    for (nr, name) in (1..).zip(&Ports::NAMES[1..]) {
        qemu.args(["-device", &format!("virtserialport,chardev={name},nr={nr},name={name}")]);
    }
    qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    qemu
}

/// One listening socket for each of the node's ports.
struct Ports([UnixListener; 5]);

impl Ports {
    /// The console, then the virtio-serial ports 1 to 4; see `ci/node/init`.
    const NAMES: [&str; 5] = ["console", "stdin", "stdout", "stderr", "status"];

    fn listen(dir: &Path) -> Result<Ports, Error> {
        let mut listeners = Vec::new();
        for name in Self::NAMES {
            let path = dir.join(name);
            listeners.push(UnixListener::bind(&path).map_err(Error::io("create", &path))?);
        }
        Ok(Ports(listeners.try_into().expect("one for each name")))
    }

    /// Starts a thread for each port, and one for QEMU's own messages. They end with QEMU.
    fn carry(
        self,
        qemu_stderr: Option<impl Read + Send + 'static>,
        marker: &[u8],
        to: &Sender<Event>,
    ) {
        if let Some(messages) = qemu_stderr {
            let to = to.clone();
            thread::spawn(move || {
                console(messages, &to);
                // The receiver is gone when the job is done.
                let _ = to.send(Event::Gone);
            });
        }
        let [serial, stdin, stdout, stderr, status] = self.0;
        spawn(serial, to, console::<UnixStream>);
        spawn(stdin, to, |port, _| feed(port));
        let own = marker.to_vec();
        spawn(stdout, to, move |port, to| drain(port, &mut io::stdout(), &own, to));
        let own = marker.to_vec();
        spawn(stderr, to, move |port, to| drain(port, &mut io::stderr(), &own, to));
        spawn(status, to, read_status);
    }
}

fn spawn(
    listener: UnixListener,
    to: &Sender<Event>,
    carry: impl FnOnce(UnixStream, &Sender<Event>) + Send + 'static,
) {
    let to = to.clone();
    thread::spawn(move || {
        // If QEMU never connects, its exit is reported by the thread that reads its stderr.
        if let Ok((port, _)) = listener.accept() {
            carry(port, &to);
        }
    });
}

fn console<R: Read>(from: R, to: &Sender<Event>) {
    use std::io::BufRead;
    let mut from = io::BufReader::new(from);
    let mut bytes = Vec::new();
    while matches!(from.read_until(b'\n', &mut bytes), Ok(1..)) {
        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        let _ = to.send(Event::Console(text));
        bytes.clear();
    }
}

/// Our stdin goes in; its end is shown by closing our half.
fn feed(mut port: UnixStream) {
    // An error here is the machine's end, which another thread reports.
    let _ = io::copy(&mut io::stdin().lock(), &mut port);
    let _ = port.shutdown(Shutdown::Write);
    // Dropping the socket now could make QEMU throw away what it has not read.
    let _ = port.read(&mut [0; 1]);
}

fn drain(mut port: UnixStream, into: &mut dyn Write, marker: &[u8], to: &Sender<Event>) {
    let mut until = UntilMarker::new(marker);
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = port.read(&mut buffer) {
        let (bytes, last) = match until.feed(&buffer[..count]) {
            Piece::More(bytes) => (bytes, false),
            Piece::Last(bytes) => (bytes, true),
        };
        if into.write_all(&bytes).and_then(|()| into.flush()).is_err() {
            let _ = to.send(Event::OutputClosed);
            return;
        }
        if last {
            let _ = to.send(Event::StreamDone);
            return;
        }
    }
}

fn read_status(port: UnixStream, to: &Sender<Event>) {
    use std::io::BufRead;
    let mut text = String::new();
    let read = io::BufReader::new(port).read_line(&mut text);
    if let (Ok(1..), Ok(status)) = (read, text.trim().parse()) {
        let _ = to.send(Event::Status(status));
    }
}

/// Waits for the command's end, remembering the console meanwhile.
struct Watch {
    console: VecDeque<String>,
    messages: BootMessages,
}

impl Watch {
    fn until_done(mut self, job: &Job, events: &Receiver<Event>) -> Result<u8, Error> {
        let deadline = Instant::now() + job.time_limit;
        let (mut status, mut streams_done) = (None, 0);
        loop {
            match events.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Event::Console(text)) => self.remember(text),
                Ok(Event::StreamDone) => streams_done += 1,
                Ok(Event::Status(code)) => status = Some(code),
                Ok(Event::OutputClosed) => return Ok(OUTPUT_CLOSED),
                Ok(Event::Gone) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(NodeError::Died { console: self.last_lines() }.into());
                }
                Err(RecvTimeoutError::Timeout) => {
                    let (limit, console) = (job.time_limit, self.last_lines());
                    return Err(NodeError::TimedOut { limit, console }.into());
                }
            }
            if let (Some(status), 2) = (status, streams_done) {
                return Ok(status);
            }
        }
    }

    fn remember(&mut self, text: String) {
        if self.messages == BootMessages::Show {
            eprintln!("{text}");
        }
        if self.console.len() == CONSOLE_LINES {
            self.console.pop_front();
        }
        self.console.push_back(text);
    }

    fn last_lines(&self) -> String {
        if self.console.is_empty() {
            return "its console is empty: did it have too little --memory to boot?".to_owned();
        }
        let lines = self.console.iter().map(|text| format!("  | {text}"));
        format!("the end of its console:\n{}", lines.collect::<Vec<_>>().join("\n"))
    }
}
