//! `margay run`

use std::env;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::{CliError, node};
use crate::config::NodeConfig;
use crate::exit::Exit;
use crate::partition::{self, LwkPlan, Partition, Resources, ServiceKind};
use crate::program::ProgramFile;
use crate::request::{PeerRequest, Program, Report, RunRequest};

/// Arguments of `margay run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The node file
    #[arg(value_name = "NODE.toml")]
    node: PathBuf,
    /// The LWK for PROGRAM, by default the first
    #[arg(long, value_name = "NAME")]
    lwk: Option<String>,
    /// Run PROGRAM in a stock Linux guest with the LWK's cores and memory instead: what the LWK is compared with
    #[arg(long, conflicts_with_all = ["stats", "json"])]
    linux: bool,
    /// Print afterwards, on standard error: boot time, memory, calls with their latency, exits
    #[arg(long)]
    stats: bool,
    /// Print the statistics, or the failure, as JSON
    #[arg(long)]
    json: bool,
    /// The program and its arguments, in place of those that the node file has for its LWKs
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
        let programs = self.programs(&partition)?;
        let report = match (self.json, self.stats) {
            (true, _) => Report::Json,
            (false, true) => Report::Text,
            (false, false) => Report::Failures,
        };
        Ok(RunRequest { partition, programs, report })
    }
}

impl RunArgs {
    /// What [`RunArgs::request`] is with `--linux`.
    ///
    /// # Errors
    /// As there.
    fn peer_request(&self) -> Result<PeerRequest, CliError> {
        let node = NodeConfig::load(&self.node)?;
        let host = Resources::collect_probed(&node);
        let partition = node::resolve(&node, &host)?;
        let (_, lwk) = self.lwks(&partition)?[0];
        let machine = partition::peer(lwk, &partition.service, &host).map_err(CliError::Fit)?;
        let args = match self.command.is_empty() {
            true => lwk.command().ok_or(CliError::NoProgram)?,
            false => self.command.clone(),
        };
        let file = ProgramFile::open(Path::new(&args[0])).map_err(CliError::Program)?;
        Ok(PeerRequest { machine, file, args })
    }

    /// The LWKs that may get programs, at least one: the one that is named, or all.
    fn lwks<'p>(&self, partition: &'p Partition) -> Result<Vec<(usize, &'p LwkPlan)>, CliError> {
        let named = |lwk: &LwkPlan| self.lwk.as_ref().is_none_or(|name| *name == lwk.name);
        let lwks: Vec<_> =
            partition.lwks.iter().enumerate().filter(|(_, lwk)| named(lwk)).collect();
        match &self.lwk {
            Some(name) if lwks.is_empty() => {
                let known = partition.lwks.iter().map(|lwk| lwk.name.clone()).collect();
                Err(CliError::NoSuchLwk { name: name.clone(), known })
            }
            _ => Ok(lwks),
        }
    }

    /// The command line's program in the LWK that it names or the first; else the node file's programs.
    fn programs(&self, partition: &Partition) -> Result<Vec<Program>, CliError> {
        let kind = &partition.service.kind;
        let lwks = self.lwks(partition)?.into_iter();
        let programs: Vec<Program> = if self.command.is_empty() {
            lwks.filter_map(|(number, lwk)| Some(program(kind, (number, lwk), lwk.command()?)))
                .collect::<Result<_, _>>()?
        } else {
            lwks.take(1)
                .map(|(number, lwk)| program(kind, (number, lwk), self.command.clone()))
                .collect::<Result<_, _>>()?
        };
        if programs.is_empty() { Err(CliError::NoProgram) } else { Ok(programs) }
    }
}

/// Finds and checks a program, if this host has it: with a service VM it is there.
fn program(
    service: &ServiceKind,
    (number, lwk): (usize, &LwkPlan),
    args: Vec<OsString>,
) -> Result<Program, CliError> {
    let env = environment(&lwk.env);
    if let ServiceKind::Vm(_) = service {
        return Ok(Program { lwk: number, file: None, args, env });
    }
    let file = ProgramFile::open(Path::new(&args[0])).map_err(CliError::Program)?;
    lwk.check_fits(&file.image).map_err(CliError::Fit)?;
    Ok(Program { lwk: number, file: Some(file), args, env })
}

/// Runs the program; what it prints goes to its own standard output.
pub(super) fn execute(args: &RunArgs) -> Result<Exit, CliError> {
    Ok(match args.linux {
        true => crate::run::execute_on_linux(&args.peer_request()?)?,
        false => crate::run::execute(&args.request()?)?,
    })
}

/// The inherited environment with the node file's variables.
pub(super) fn environment(added: &[(String, String)]) -> Vec<(OsString, OsString)> {
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
