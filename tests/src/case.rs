//! A program with its surroundings, run on the host or in the LWK.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{Folder, Mode, NodeFile, Running, busybox, margay};

/// How a run ended.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The exit status, or 128+n for signal n.
    pub status: i32,
    /// All of stdout that was captured.
    pub stdout: Vec<u8>,
    /// All of stderr.
    pub stderr: Vec<u8>,
}

impl Outcome {
    /// stdout as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// stderr as text.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Where another run's outcome departs from this one's, with a few lines around.
    fn first_difference(&self, other: &Outcome) -> String {
        let streams =
            [("stdout", &self.stdout, &other.stdout), ("stderr", &self.stderr, &other.stderr)];
        let mut text = format!("status {} on the host, {} in the LWK", self.status, other.status);
        for (name, ours, theirs) in streams {
            let same = ours.iter().zip(theirs.iter()).take_while(|(a, b)| a == b).count();
            if ours == theirs {
                continue;
            }
            let around = |bytes: &[u8]| {
                let part = &bytes[same.saturating_sub(100)..bytes.len().min(same + 400)];
                String::from_utf8_lossy(part).into_owned()
            };
            text += &format!(
                "\n{name} differs at byte {same}; host, {} bytes:\n{}\nLWK, {} bytes:\n{}",
                ours.len(),
                around(ours),
                theirs.len(),
                around(theirs)
            );
        }
        text
    }

    /// Demands a status and words on stderr.
    ///
    /// # Panics
    /// If it was otherwise.
    pub fn assert_error(&self, status: i32, words: &[&str]) {
        let text = self.stderr_text();
        let missing: Vec<_> = words.iter().filter(|word| !text.contains(**word)).collect();
        assert!(
            self.status == status && missing.is_empty(),
            "want status {status} and {words:?} on stderr, but {missing:?} missing in {self:?}"
        );
    }
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let show = |bytes: &[u8]| {
            let start = String::from_utf8_lossy(&bytes[..bytes.len().min(4000)]).into_owned();
            format!("{} bytes:\n{start}", bytes.len())
        };
        write!(f, "status {}\nstdout {}\n", self.status, show(&self.stdout))?;
        write!(f, "stderr {}", show(&self.stderr))
    }
}

/// Where stdout goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sink {
    /// Into [`Outcome::stdout`].
    Capture,
    /// Into a pipe that nobody reads.
    ClosedPipe,
    /// Into a file or device.
    File(PathBuf),
}

/// What to do about SIGPIPE before the command starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sigpipe {
    Default,
    Ignored,
}

/// A program, its arguments, and all that it may read.
#[derive(Clone)]
pub struct Case {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    stdin: Vec<u8>,
    files: Vec<(String, Vec<u8>)>,
    memory: String,
    sink: Sink,
    sigpipe: Sigpipe,
}

impl Case {
    /// A program without arguments, with an empty stdin, in an empty folder.
    pub fn new(program: impl Into<PathBuf>) -> Case {
        Case {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            files: Vec::new(),
            memory: "64M".into(),
            sink: Sink::Capture,
            sigpipe: Sigpipe::Default,
        }
    }

    /// A busybox applet: all words of `line`.
    pub fn busybox(line: &str) -> Case {
        Case::new(busybox()).args(line.split_whitespace())
    }

    /// More arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Case {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// A variable for its environment.
    pub fn env(mut self, name: &str, value: &str) -> Case {
        self.env.push((name.into(), value.into()));
        self
    }

    /// What it reads on stdin.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Case {
        self.stdin = bytes.into();
        self
    }

    /// A file in its working directory.
    pub fn file(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Case {
        self.files.push((name.into(), bytes.into()));
        self
    }

    /// Memory of the LWK.
    pub fn memory(mut self, memory: &str) -> Case {
        self.memory = memory.into();
        self
    }

    /// Where its stdout goes.
    pub fn stdout(mut self, sink: Sink) -> Case {
        self.sink = sink;
        self
    }

    /// Runs it as a child of somebody who ignores SIGPIPE.
    pub fn ignoring_sigpipe(mut self) -> Case {
        self.sigpipe = Sigpipe::Ignored;
        self
    }

    /// Runs it on the host and in the LWK in each mode, and demands the same of each: stdout, stderr, exit
    /// status, and the files in its working directory.
    ///
    /// # Panics
    /// If anything differs.
    pub fn assert_same_as_host(&self) {
        self.assert_same_as_host_in(&Mode::all());
    }

    /// The same in some of the modes.
    ///
    /// # Panics
    /// If anything differs.
    pub fn assert_same_as_host_in(&self, modes: &[Mode]) {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        let host = self.run_in(&dir, None);
        for mode in modes {
            let lwk = self.run_in(&dir, Some(mode));
            let what = format!("{} {:?} in {mode}", self.program.display(), self.args);
            // Not assert_eq: outputs of many MiB would be printed.
            assert!(host.0 == lwk.0, "{what}: {}", host.0.first_difference(&lwk.0));
            assert!(host.1 == lwk.1, "{what}:\nhost left\n{:?}LWK left\n{:?}", host.1, lwk.1);
        }
    }

    /// Runs it in the LWK.
    pub fn run(&self, mode: &Mode) -> Outcome {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        self.run_in(&dir, Some(mode)).0
    }

    /// Runs it on the host.
    pub fn run_on_host(&self) -> Outcome {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        self.run_in(&dir, None).0
    }

    /// Starts it in the LWK with stdin open, for tests that talk to it. Its folder is the test's own.
    pub fn start(&self, mode: &Mode) -> (Running, NodeFile) {
        let node = NodeFile::with_memory(mode, &self.memory);
        let mut command = self.command(Some(&node));
        (Running::start(command.stdin(Stdio::piped())), node)
    }

    fn run_in(&self, dir: &TempDir, mode: Option<&Mode>) -> (Outcome, Folder) {
        // The same path for each run: programs may print it.
        let folder = dir.path().join("cwd");
        self.prepare(&folder).expect("a temporary folder can be written");
        let node = mode.map(|mode| NodeFile::with_memory(mode, &self.memory));
        let mut command = self.command(node.as_ref());
        let mut running = Running::start(command.current_dir(&folder).stdin(Stdio::piped()));
        // Closes our copy of the sink; the child has its own.
        drop(command);
        running.write_and_close(self.stdin.clone());
        let outcome = running.finish();
        (outcome, Folder::read(&folder).expect("what a test wrote can be read"))
    }

    fn prepare(&self, folder: &Path) -> io::Result<()> {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
        fs::create_dir(folder)?;
        self.files.iter().try_for_each(|(name, bytes)| fs::write(folder.join(name), bytes))
    }

    /// The command line: the program itself, or `margay run NODE -- PROGRAM`.
    fn command(&self, node: Option<&NodeFile>) -> Command {
        let mut words: Vec<OsString> = Vec::new();
        if self.sigpipe == Sigpipe::Ignored {
            words.extend(["/bin/sh", "-c", "trap '' PIPE; exec \"$@\"", "sh"].map(Into::into));
        }
        if let Some(node) = node {
            words.extend([margay().into(), "run".into(), node.path().into(), "--".into()]);
        }
        words.push(self.program.clone().into());
        words.extend(self.args.iter().cloned());
        let mut command = Command::new(&words[0]);
        // The same wherever the tests run; and whatever the developer's has does not show in reports.
        command.args(&words[1..]).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/");
        command.envs(self.env.iter().cloned());
        command.stdout(self.sink.open().expect("a sink can be opened")).stderr(Stdio::piped());
        command
    }
}

impl Sink {
    fn open(&self) -> io::Result<Stdio> {
        match self {
            Sink::Capture => Ok(Stdio::piped()),
            Sink::ClosedPipe => io::pipe().map(|(_reader, writer)| writer.into()),
            Sink::File(path) => fs::OpenOptions::new().write(true).open(path).map(Stdio::from),
        }
    }
}
