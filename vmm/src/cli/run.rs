//! `margay run`

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{CliError, node};
use crate::config::NodeConfig;
use crate::exit::Exit;
use crate::partition::Resources;
use crate::program::ProgramFile;
use crate::request::{Report, RunRequest};

/// Arguments of `margay run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The node file
    #[arg(value_name = "NODE.toml")]
    node: PathBuf,
    /// Print afterwards, on standard error: boot time, memory, calls with their latency, exits
    #[arg(long)]
    stats: bool,
    /// Print the statistics, or the failure, as JSON
    #[arg(long)]
    json: bool,
    /// The program and its arguments, in place of the node file's
    #[arg(last = true, value_name = "PROGRAM")]
    command: Vec<OsString>,
}

impl RunArgs {
    /// Decides and checks everything that can be, before anything starts.
    ///
    /// # Errors
    /// [`CliError`] for mistakes in the node file, what the host cannot give, and programs that cannot be run.
    pub fn request(&self) -> Result<RunRequest, CliError> {
        let node = NodeConfig::load(&self.node)?;
        let partition = node::resolve(&node, &Resources::collect(&node))?;
        let lwk = &partition.lwks[0];
        let argv: Vec<OsString> = match (self.command.is_empty(), &lwk.program) {
            (false, _) => self.command.clone(),
            (true, Some(program)) => {
                let args = lwk.args.iter().map(OsString::from);
                [program.clone().into_os_string()].into_iter().chain(args).collect()
            }
            (true, None) => return Err(CliError::NoProgram),
        };
        let program = ProgramFile::open(Path::new(&argv[0])).map_err(CliError::Program)?;
        lwk.check_fits(&program.image).map_err(CliError::Fit)?;
        let env = environment(&lwk.env);
        let report = match (self.json, self.stats) {
            (true, _) => Report::Json,
            (false, true) => Report::Text,
            (false, false) => Report::Failures,
        };
        Ok(RunRequest { partition, program, argv, env, report })
    }
}

/// Runs the program; what it prints goes to its own standard output.
pub(super) fn execute(args: &RunArgs) -> Result<Exit, CliError> {
    Ok(crate::run::execute(&args.request()?)?)
}

/// The inherited environment with the node file's variables.
fn environment(added: &[(String, String)]) -> Vec<(OsString, OsString)> {
    let replaced = |name: &OsString| added.iter().any(|(n, _)| n.as_bytes() == name.as_bytes());
    let inherited = env::vars_os().filter(|(name, _)| !replaced(name));
    let added = added.iter().map(|(name, value)| (name.into(), value.into()));
    inherited.chain(added).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;

    use clap::Parser;

    use super::{RunArgs, environment};
    use crate::host::open_kvm;
    use crate::request::Report;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        run: RunArgs,
    }

    fn parse(args: &[&str]) -> RunArgs {
        Command::try_parse_from([&["run"], args].concat()).unwrap_or_else(|e| panic!("{e}")).run
    }

    #[test]
    fn everything_behind_the_dashes_is_the_programs() {
        let args = parse(&["node.toml", "--json", "--", "ls", "--stats", "--"]);
        assert!(args.json && !args.stats);
        assert_eq!(args.command, ["ls", "--stats", "--"]);
    }

    #[test]
    fn variables_of_the_node_file_replace_inherited_ones() {
        let env = environment(&[("PATH".to_owned(), "x".to_owned())]);
        let values: Vec<_> = env.iter().filter(|(name, _)| name == "PATH").collect();
        assert_eq!(values, [&(OsString::from("PATH"), OsString::from("x"))]);
        assert_eq!(env.len(), std::env::vars_os().filter(|(name, _)| name != "PATH").count() + 1);
    }

    #[test]
    fn a_request_is_checked_before_anything_starts() {
        if let Err(error) = open_kvm() {
            println!("skipped: {error}");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("node.toml");
        fs::write(&node, "[[lwk]]\nmemory = \"16M\"\nstack = \"2M\"\nisolation = \"fused\"\n")
            .unwrap();
        let node = node.to_str().unwrap();
        let code =
            |args: &[&str]| parse(args).request().map(|r| r.report).map_err(|e| e.exit().code());
        assert_eq!(code(&["/no/such/node.toml"]), Err(2));
        assert_eq!(code(&[node]), Err(2), "no program");
        assert_eq!(code(&[node, "--", "/no/such/program"]), Err(127));
        assert_eq!(code(&[node, "--", "/"]), Err(126));
        assert_eq!(code(&[node, "--json", "--", "/dev/null"]).map(|r| r == Report::Json), Err(126));
    }
}
