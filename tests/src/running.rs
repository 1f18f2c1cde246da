//! A command under way: its streams, its signals, its end, and what it leaves behind.

use std::{
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    process::{Child, ChildStdin, Command, ExitStatus},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    Outcome, Signal, place, process, sys,
    turn::{AFTERMATH, LOOK, Turn},
};

/// A command that was started. Killed when dropped unfinished.
pub struct Running {
    child: Child,
    name: String,
    deadline: Instant,
    stdin: Option<ChildStdin>,
    stdout: Arc<Stream>,
    stderr: Arc<Stream>,
    /// `None`: somebody else's, who starts other commands besides.
    turn: Option<Turn>,
}

impl Running {
    /// Starts a command in a process group of its own.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command) -> Running {
        let turn = Turn::take();
        Running::spawn(command, Some(turn))
    }

    /// Starts one of several commands, in a process group of its own. [`Running::finish`] then does not look what is left: that is
    /// for whoever has the turn.
    ///
    /// # Panics
    /// If it cannot be started.
    pub(crate) fn start_beside(command: &mut Command, _turn: &Turn) -> Running {
        Running::spawn(command, None)
    }

    fn spawn(command: &mut Command, turn: Option<Turn>) -> Running {
        use std::os::unix::process::CommandExt;
        let name = format!("{command:?}");
        let mut child = match command.process_group(0).spawn() {
            Ok(child) => child,
            Err(error) => panic!("cannot start {name}: {error}"),
        };
        Running {
            stdin: child.stdin.take(),
            stdout: Stream::collect(child.stdout.take()),
            stderr: Stream::collect(child.stderr.take()),
            child,
            name,
            deadline: Instant::now() + place().time_limit(),
            turn,
        }
    }

    /// Waits until stdout contains `text`.
    ///
    /// # Panics
    /// If that does not happen in time.
    pub fn wait_for(&self, text: &str) {
        self.wait_in(&self.stdout, text);
    }

    /// Waits until stderr contains `text`.
    ///
    /// # Panics
    /// If that does not happen in time.
    pub fn wait_for_error(&self, text: &str) {
        self.wait_in(&self.stderr, text);
    }

    fn wait_in(&self, stream: &Stream, text: &str) {
        let contains = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        stream.wait_until(self.deadline, |state| state.closed || contains(&state.bytes));
        let found = contains(&stream.bytes());
        let so_far = String::from_utf8_lossy(&self.stdout.bytes()).into_owned();
        let errors = String::from_utf8_lossy(&self.stderr.bytes()).into_owned();
        assert!(found, "{}: no {text:?}; stdout {so_far:?}, stderr {errors:?}", self.name);
    }

    /// Writes on its stdin, from another thread if there is much.
    pub fn write(&mut self, bytes: &[u8]) {
        // A program that ends early closes the pipe; what it then did is for the test to judge.
        let _ = self.stdin.as_mut().map(|stdin| stdin.write_all(bytes));
    }

    /// Closes its stdin after writing `bytes`, without waiting for that.
    pub fn write_and_close(&mut self, bytes: Vec<u8>) {
        if let Some(mut stdin) = self.stdin.take() {
            thread::spawn(move || stdin.write_all(&bytes));
        }
    }

    /// The command's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The command and all processes below it.
    pub fn processes(&self) -> Vec<u32> {
        process::tree(self.child.id())
    }

    /// CPU time that the command and all processes below it use during `time`.
    pub fn cpu_time_during(&self, time: Duration) -> Duration {
        let pids = self.processes();
        let before = process::cpu_time(&pids);
        thread::sleep(time);
        process::cpu_time(&pids).saturating_sub(before)
    }

    /// Sends a signal to the command alone.
    pub fn signal(&self, signal: Signal) {
        sys::send(signal, sys::Target::Process(self.child.id()));
    }

    /// Sends a signal to one of [`Running::processes`].
    pub fn signal_process(&self, pid: u32, signal: Signal) {
        sys::send(signal, sys::Target::Process(pid));
    }

    /// Sends a signal to the command and all below it, as a terminal does for Ctrl-C.
    pub fn signal_group(&self, signal: Signal) {
        sys::send(signal, sys::Target::Group(self.child.id()));
    }

    /// Waits for its end, and that nothing is left of it (unless it is one of several commands).
    ///
    /// # Panics
    /// If it takes too long, or leaves a process behind.
    pub fn finish(mut self) -> Outcome {
        let status = self.wait();
        let left = self.turn.as_ref().map_or(Vec::new(), Turn::left_behind);
        if !left.is_empty() {
            self.signal_group(Signal::Kill);
            panic!("{} left processes behind: {left:?}", self.name);
        }
        let gone = Instant::now() + AFTERMATH;
        let closed = |stream: &Stream| stream.wait_until(gone, |state| state.closed);
        assert!(closed(&self.stdout) && closed(&self.stderr), "{}: a pipe stays open", self.name);
        Outcome {
            status: status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(-1),
            stdout: self.stdout.bytes(),
            stderr: self.stderr.bytes(),
        }
    }

    fn wait(&mut self) -> ExitStatus {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return status,
                Ok(None) if Instant::now() < self.deadline => thread::sleep(LOOK),
                other => {
                    let stdout = String::from_utf8_lossy(&self.stdout.bytes()).into_owned();
                    let stderr = String::from_utf8_lossy(&self.stderr.bytes()).into_owned();
                    panic!(
                        "{} does not end ({other:?}); stdout {stdout:?}, stderr {stderr:?}",
                        self.name
                    );
                }
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal_group(Signal::Kill);
            // It was killed just now, so this ends.
            let _ = self.child.wait();
        }
    }
}

/// What came through a pipe so far.
#[derive(Default)]
struct Stream {
    state: Mutex<StreamState>,
    changed: Condvar,
}

#[derive(Default)]
struct StreamState {
    bytes: Vec<u8>,
    closed: bool,
}

impl Stream {
    fn collect(pipe: Option<impl Read + Send + 'static>) -> Arc<Stream> {
        let stream = Arc::new(Stream::default());
        let into = Arc::clone(&stream);
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            if let Some(mut pipe) = pipe {
                while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                    into.lock().bytes.extend_from_slice(&buffer[..count]);
                    into.changed.notify_all();
                }
            }
            into.lock().closed = true;
            into.changed.notify_all();
        });
        stream
    }

    fn lock(&self) -> MutexGuard<'_, StreamState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// Whether `happened` became true before the deadline.
    fn wait_until(&self, deadline: Instant, happened: impl Fn(&StreamState) -> bool) -> bool {
        let limit = deadline.saturating_duration_since(Instant::now());
        let wait = self.changed.wait_timeout_while(self.lock(), limit, |state| !happened(state));
        let (state, _) = wait.unwrap_or_else(PoisonError::into_inner);
        happened(&state)
    }
}
