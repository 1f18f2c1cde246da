//! Nodes that live: a runtime directory of their own, so that no other node of this machine is seen or disturbed.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Instant,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Outcome, Running, margay, place,
    turn::{LOOK, Turn},
};

/// The nodes of one test. When this goes everything goes: what still runs is killed.
pub struct Nodes {
    runtime: TempDir,
    files: TempDir,
    turn: Turn,
}

impl Nodes {
    /// No nodes yet.
    ///
    /// # Panics
    /// If there is no room for temporary folders.
    pub fn none() -> Nodes {
        let turn = Turn::take();
        let folder = || tempfile::tempdir().expect("a temporary folder can be made");
        Nodes { runtime: folder(), files: folder(), turn }
    }

    /// A single node, `node`, that is up.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn with(text: &str) -> Nodes {
        let nodes = Nodes::none();
        nodes.up("node", text);
        nodes
    }

    /// Another node.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn up(&self, name: &str, text: &str) {
        let outcome = self.try_up(name, text);
        assert_eq!(outcome.status, 0, "{outcome:?}");
    }

    /// The same, whatever comes of it.
    ///
    /// # Panics
    /// If there is no room for the node file.
    pub fn try_up(&self, name: &str, text: &str) -> Outcome {
        let file = self.file(&format!("{name}.toml"), text.as_bytes());
        self.run([OsStr::new("up"), file.as_os_str()])
    }

    /// A file that the nodes may use.
    ///
    /// # Panics
    /// If there is no room for it.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.files.path().join(name);
        fs::write(&path, bytes).expect("a temporary folder can be written");
        path
    }

    /// Any command that can reach the nodes, in an environment that is the same wherever the tests run.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/");
        command.env("XDG_RUNTIME_DIR", self.runtime.path()).env("MARGAY", margay());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.current_dir(self.files.path());
        command
    }

    /// Starts such a command.
    pub fn start_command(&self, command: &mut Command) -> Running {
        Running::start_beside(command, &self.turn)
    }

    /// Runs such a command with an empty stdin.
    pub fn run_command(&self, command: &mut Command) -> Outcome {
        let mut running = self.start_command(command);
        running.write_and_close(Vec::new());
        running.finish()
    }

    /// Starts `margay` with these arguments.
    pub fn start(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Running {
        self.start_command(self.command(margay()).args(args))
    }

    /// Runs `margay` with these arguments and an empty stdin.
    pub fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Outcome {
        self.run_command(self.command(margay()).args(args))
    }

    /// Runs a shell script, in which `$MARGAY` is the command.
    pub fn shell(&self, script: &str) -> Outcome {
        self.run_command(self.command("/bin/sh").args(["-c", script]))
    }

    /// Starts a program in an LWK.
    pub fn start_exec(&self, lwk: &str, program: impl AsRef<Path>, args: &[&str]) -> Running {
        let mut command = self.command(margay());
        command.args(["exec", "--lwk", lwk, "--"]).arg(program.as_ref()).args(args);
        self.start_command(&mut command)
    }

    /// Runs a program in an LWK, with an empty stdin.
    pub fn exec(&self, lwk: &str, program: impl AsRef<Path>, args: &[&str]) -> Outcome {
        let mut running = self.start_exec(lwk, program, args);
        running.write_and_close(Vec::new());
        running.finish()
    }

    /// What `margay ps --json` says; the only node that is up.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn status(&self) -> Value {
        let outcome = self.run(["ps", "--json"]);
        serde_json::from_slice(&outcome.stdout).unwrap_or_else(|_| panic!("no JSON: {outcome:?}"))
    }

    /// What it says of an LWK.
    ///
    /// # Panics
    /// If it says nothing of it.
    pub fn lwk(&self, name: &str) -> Value {
        let status = self.status();
        let lwks = status["lwks"].as_array();
        let found = lwks.and_then(|lwks| lwks.iter().find(|lwk| lwk["name"] == name));
        found.unwrap_or_else(|| panic!("no LWK {name} in {status}")).clone()
    }

    /// The state of an LWK.
    pub fn state(&self, lwk: &str) -> String {
        self.lwk(lwk)["state"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an LWK is in `state`, and returns what is said of it then.
    ///
    /// # Panics
    /// If that does not happen in time.
    pub fn wait_for_state(&self, lwk: &str, state: &str) -> Value {
        let deadline = Instant::now() + place().time_limit();
        loop {
            let now = self.lwk(lwk);
            if now["state"] == state {
                return now;
            }
            assert!(Instant::now() < deadline, "{lwk} does not come to be {state}: {now}");
            thread::sleep(10 * LOOK);
        }
    }

    /// The log of an LWK.
    pub fn log(&self, lwk: &str) -> String {
        self.run(["log", lwk]).stdout_text()
    }

    /// Process id of the only node that is up.
    ///
    /// # Panics
    /// If it says none.
    pub fn pid(&self) -> u32 {
        let status = self.status();
        let pid = status["pid"].as_u64().and_then(|pid| pid.try_into().ok());
        pid.unwrap_or_else(|| panic!("no process in {status}"))
    }

    /// Names of all files of nodes.
    ///
    /// # Panics
    /// If they cannot be read.
    pub fn runtime_files(&self) -> Vec<String> {
        let entries = match fs::read_dir(self.runtime.path().join("margay")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            entries => entries.expect("the folder is ours"),
        };
        let name = |entry: io::Result<fs::DirEntry>| {
            entry.expect("the folder is ours").file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    }

    /// Takes the only node down.
    ///
    /// # Panics
    /// If that fails, or leaves anything behind.
    pub fn down(self) {
        let outcome = self.run(["down"]);
        assert_eq!(outcome.status, 0, "{outcome:?}");
        self.assert_nothing_left();
    }

    /// That there is nothing of any node: no process, hence no memory nor VM, and no file.
    ///
    /// # Panics
    /// If there is.
    pub fn assert_nothing_left(&self) {
        let left = self.turn.left_behind();
        assert!(left.is_empty(), "processes are left: {left:?}");
        let files = fs::read_dir(self.runtime.path()).expect("the folder is ours");
        let files: Vec<_> = files.flatten().map(|entry| entry.path()).collect();
        assert!(files.is_empty(), "files are left: {files:?}, {:?}", self.runtime_files());
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.turn.kill_all();
        self.turn.left_behind();
    }
}
