//! Running other programs, with errors that name the command.

use std::process::{Command, Stdio};

use crate::{error::Error, paths};

/// A command that runs in the source tree's top.
pub fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(paths::root());
    command
}

/// `cargo` with `args`, words separated by blanks.
pub fn cargo(args: &str) -> Command {
    let mut cargo = command(&std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    cargo.args(args.split_whitespace());
    cargo
}

/// Runs a command to its end, its output on the terminal.
pub fn run(command: &mut Command) -> Result<(), Error> {
    let status =
        command.status().map_err(|source| Error::Spawn { command: line(command), source })?;
    if status.success() { Ok(()) } else { Err(Error::Failed { command: line(command), status }) }
}

/// Runs a command and returns what it wrote on stdout; stderr goes to the terminal.
pub fn output(command: &mut Command) -> Result<String, Error> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| Error::Spawn { command: line(command), source })?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Error::Failed { command: line(command), status: output.status })
    }
}

/// The command line as one would type it.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
