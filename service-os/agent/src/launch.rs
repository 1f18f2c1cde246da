//! From an order to a process: the program, or its proxy.

use std::ffi::{CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::{io, iter};

use margay_program::{ProgramFile, Surroundings, find};
use margay_protocol::agent::{Ending, Event, Place, Start, Stream};
use margay_protocol::{Launch, Text};

use crate::children::Child;
use crate::lookup::as_user;
use crate::prepare::{self, Preparation};
use crate::refusal::Refusal;
use crate::service::Service;
use crate::streams::Set;
use crate::terminal::Terminal;
use crate::{dax, descriptors, relay};

/// A process that was started for a session.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub child: Child,
    /// Tells how it ended.
    pub ended: Receiver<Ending>,
    /// Its terminal, and the thread that carries what it writes there.
    pub terminal: Option<(Terminal, JoinHandle<()>)>,
    /// A proxy's control connection.
    pub control: Option<UnixStream>,
    /// What the node must know of it.
    pub started: Event,
}

/// Starts what `start` says, with `streams`.
///
/// # Errors
/// Why not, for the user.
pub fn launch(start: Start, mut streams: Set, service: &Service) -> Result<Running, Refusal> {
    let directory = existing_directory(&start);
    let mut image = match &start.place {
        Place::Linux => Image::program(&start, &directory)?,
        place @ Place::Lwk { .. } => {
            Image::proxy(place, &start, &directory, &mut streams, service)?
        }
    };
    image.command.env_clear().envs(start.env.iter().filter_map(variable));
    let terminal = connect_stdio(&mut image.command, &start, &mut streams)?;
    let preparation = Preparation {
        user: start.user,
        directory: CString::new(directory.as_os_str().as_bytes()).unwrap_or_default(),
        terminal: match terminal {
            Some(_) => prepare::Terminal::Controlling,
            None => prepare::Terminal::None,
        },
        passed: image.passed,
    };
    preparation.of(&mut image.command);
    let (child, ended) = service
        .children
        .spawn(&mut image.command)
        .map_err(|error| Refusal::execution(&image.path.to_string_lossy(), &error))?;
    // The program's ends of its streams were the command's.
    drop(image.command);
    let terminal = match terminal {
        None => None,
        Some((terminal, stream)) => match terminal.connect(stream) {
            Ok(carrier) => Some((terminal, carrier)),
            Err(error) => {
                child.kill_group();
                return Err(Refusal::cannot("carry a terminal's bytes", &error));
            }
        },
    };
    let started = match start.place {
        Place::Linux => Event::Started(child.pid()),
        Place::Lwk { .. } => Event::Launch(launch_of(start, &child, &image.path)),
    };
    Ok(Running { child, ended, terminal, control: image.control, started })
}

/// What to execute, and what it gets beside its streams.
struct Image {
    command: Command,
    /// The program, wherever its code will run.
    path: PathBuf,
    passed: Vec<(OwnedFd, i32)>,
    control: Option<UnixStream>,
}

impl Image {
    /// The program itself.
    fn program(start: &Start, directory: &Path) -> Result<Image, Refusal> {
        let name = name_of(start)?;
        let path = as_user(start.user, || find(name, &surroundings(start, directory)))?;
        let mut command = Command::new(&path);
        command.arg0(name).args(start.args.iter().skip(1).map(|arg| &arg.0));
        Ok(Image { command, path, passed: Vec::new(), control: None })
    }

    /// The proxy of a program in an LWK.
    fn proxy(
        place: &Place,
        start: &Start,
        directory: &Path,
        streams: &mut Set,
        service: &Service,
    ) -> Result<Image, Refusal> {
        let &Place::Lwk { address, bytes, spin_us } = place else {
            return Err(Refusal::order("a proxy without an LWK"));
        };
        let name = name_of(start)?;
        let program =
            as_user(start.user, || ProgramFile::open_in(name, &surroundings(start, directory)))?;
        let doorbell =
            streams.remove(&Stream::Doorbell).ok_or(Refusal::order("an LWK without a doorbell"))?;
        let wake = doorbell.try_clone().map_err(|e| Refusal::cannot("open a doorbell", &e))?;
        let memory = dax::open(address, bytes)?;
        let (control, theirs) =
            UnixStream::pair().map_err(|e| Refusal::cannot("connect a proxy", &e))?;
        let proxy = service.proxy.path().map_err(|e| Refusal::cannot("open the proxy", e))?;
        let mut command = Command::new(proxy);
        command
            .arg0("margay-proxy")
            .args(["--fds", &descriptors::PROXY_FDS.to_string()])
            .args(["--memory-bytes", &bytes.to_string()])
            .args(["--control", &descriptors::CONTROL.to_string()])
            .args(["--spin-us", &spin_us.to_string()])
            .arg("--program")
            .arg(&program.path);
        let fixed = [memory.into(), doorbell, wake, program.file.into()];
        let passed = (descriptors::PROXY_FDS..).zip(fixed).map(|(to, from)| (from, to));
        let passed = passed.chain(iter::once((theirs.into(), descriptors::CONTROL))).collect();
        Ok(Image { command, path: program.path, passed, control: Some(control) })
    }
}

fn name_of(start: &Start) -> Result<&Path, Refusal> {
    start.args.first().map(|name| Path::new(&name.0)).ok_or(Refusal::order("no program"))
}

/// The directory to work in: the one that the user is in on the host, if there is one of that name here.
fn existing_directory(start: &Start) -> PathBuf {
    let wanted = Path::new(&start.directory.0);
    let usable = wanted.is_absolute() && as_user(start.user, || wanted.is_dir());
    if usable { wanted.to_owned() } else { "/".into() }
}

fn surroundings<'a>(start: &'a Start, directory: &'a Path) -> Surroundings<'a> {
    let path = start.env.iter().filter_map(variable).find(|(name, _)| *name == "PATH");
    Surroundings { path: path.map(|(_, value)| value), directory }
}

/// Splits `NAME=value`. What is no variable is left out.
fn variable(text: &Text) -> Option<(&OsStr, &OsStr)> {
    let bytes = text.as_bytes();
    let at = bytes.iter().position(|&byte| byte == b'=').filter(|&at| at > 0)?;
    Some((OsStr::from_bytes(&bytes[..at]), OsStr::from_bytes(&bytes[at + 1..])))
}

/// Gives the program its streams, or a terminal, whose stream comes back.
fn connect_stdio(
    command: &mut Command,
    start: &Start,
    streams: &mut Set,
) -> Result<Option<(Terminal, OwnedFd)>, Refusal> {
    let Some(stream) = streams.remove(&Stream::Terminal) else {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut connect = || -> io::Result<()> {
            if let Some(stream) = streams.remove(&Stream::Stdin) {
                command.stdin(relay::input(stream)?);
            }
            if let Some(stream) = streams.remove(&Stream::Stdout) {
                command.stdout(relay::output(stream)?);
            }
            if let Some(stream) = streams.remove(&Stream::Stderr) {
                command.stderr(relay::output(stream)?);
            }
            Ok(())
        };
        connect().map_err(|error| Refusal::cannot("connect standard streams", &error))?;
        return Ok(None);
    };
    let mut make = || -> io::Result<Terminal> {
        let (terminal, program) = Terminal::new(start.user)?;
        command.stdin(program.try_clone()?).stdout(program.try_clone()?).stderr(program);
        Ok(terminal)
    };
    let terminal = make().map_err(|error| Refusal::cannot("make a terminal", &error))?;
    if let Some(size) = start.window {
        terminal.resize(size);
    }
    Ok(Some((terminal, stream)))
}

fn launch_of(start: Start, proxy: &Child, path: &Path) -> Launch {
    let (uid, gid) = start.user;
    Launch {
        pid: proxy.pid(),
        program_fd: descriptors::PROGRAM_FILE as u32,
        ids: [uid, uid, gid, gid],
        ignored_signals: 0,
        path: path.into(),
        args: start.args,
        env: start.env,
    }
}
