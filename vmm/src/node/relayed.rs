//! A program whose stand-in lives in the service VM, or that itself does: the node's part of it.

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use margay_protocol::agent::{Ending, Event, Hello, Order, Place, Start, Stream};
use margay_protocol::{Launch, Text, frame};

use super::remote_proxy::RemoteProxy;
use super::stand_in::StandIn;
use super::{LAUNCH_LIMIT, MESSAGE_LIMIT};
use crate::control::connection;
use crate::control::message::{Exec, Reply};
use crate::service::{ServiceError, ServiceVm};

/// The streams of a program that has a terminal, and of one that has not.
const TERMINAL: &[Stream] = &[Stream::Terminal];
const PLAIN: &[Stream] = &[Stream::Stdin, Stream::Stdout, Stream::Stderr];

/// Why a program was not started in the service VM.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The VM is not there.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The agent said no.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// The command's exit status.
        status: u8,
    },
    /// The agent went away, or said something else.
    #[error("the service VM's agent does not start it: {0}")]
    Agent(String),
    /// The command is gone.
    #[error("the command has gone: {0}")]
    Gone(#[from] std::io::Error),
}

/// A program that was started in the service VM.
#[derive(Debug)]
pub struct Started {
    /// To the agent.
    pub session: UnixStream,
    /// The proxy's doorbells, if there is a proxy.
    pub bells: Option<UnixStream>,
    /// What its LWK must know, if there is one.
    pub launch: Option<Launch>,
}

/// What to start.
#[derive(Debug)]
pub struct Request<'a> {
    /// What the command asked for.
    pub exec: &'a Exec,
    /// Its program and arguments.
    pub args: Vec<Text>,
    /// Variables that the node file adds.
    pub env: &'a [(String, String)],
    /// Where its code runs.
    pub place: Place,
    /// As whom.
    pub user: (u32, u32),
}

/// Starts a program, and gives `command` the ends of its streams.
///
/// # Errors
/// [`RelayError`]; then nothing is left of it.
pub fn start(
    service: &ServiceVm,
    request: Request<'_>,
    command: &UnixStream,
) -> Result<Started, RelayError> {
    static SESSIONS: AtomicU64 = AtomicU64::new(0);
    let id = SESSIONS.fetch_add(1, Relaxed);
    let exec = request.exec;
    let session = service.connect(&Hello::Session { id })?;
    let for_command = if exec.window.is_some() { TERMINAL } else { PLAIN };
    let in_lwk = matches!(request.place, Place::Lwk { .. });
    let mut connect = |&stream| service.connect(&Hello::Stream { id, stream });
    let ends: Vec<UnixStream> = for_command.iter().map(&mut connect).collect::<Result<_, _>>()?;
    let bells = in_lwk.then(|| connect(&Stream::Doorbell)).transpose()?;
    let mut streams = for_command.to_vec();
    streams.extend(bells.as_ref().map(|_| Stream::Doorbell));
    let start = Start {
        place: request.place,
        args: request.args,
        env: environment(&exec.env, request.env),
        directory: exec.directory.clone(),
        user: request.user,
        streams,
        window: exec.window,
    };
    let agent = |error: std::io::Error| RelayError::Agent(error.to_string());
    frame::write(&session, &Order::Start(start)).map_err(agent)?;
    session.set_read_timeout(Some(LAUNCH_LIMIT)).map_err(agent)?;
    let launch = match frame::read(&session) {
        Ok(Event::Launch(launch)) => Some(launch),
        Ok(Event::Started(_)) => None,
        Ok(Event::Refused { message, hint, status }) => {
            return Err(RelayError::Refused { message, hint, status });
        }
        Ok(other) => return Err(RelayError::Agent(format!("it says {other:?}"))),
        Err(error) => return Err(RelayError::Agent(error.to_string())),
    };
    session.set_read_timeout(Some(MESSAGE_LIMIT)).map_err(agent)?;
    command.set_read_timeout(Some(MESSAGE_LIMIT))?;
    frame::write(command, &Reply::Relayed { terminal: exec.window.is_some() })?;
    let descriptors: Vec<_> = ends.iter().map(AsRawFd::as_raw_fd).collect();
    connection::send_descriptors(command, &descriptors)?;
    Ok(Started { session, bells, launch })
}

/// Runs a program in the VM's own Linux to its end, and returns what the command is to be told.
///
/// # Errors
/// [`RelayError`]; then it was not started.
pub fn run_in_linux(
    service: &ServiceVm,
    command: &UnixStream,
    exec: &Exec,
) -> Result<Reply, RelayError> {
    let peer = connection::peer(command)?;
    let request = Request {
        exec,
        args: exec.args.clone(),
        env: &[],
        place: Place::Linux,
        user: (peer.uid, peer.gid),
    };
    let started = start(service, request, command)?;
    let mut program = RemoteProxy::new(started.session, command.try_clone()?, None);
    let ending = program.wait(Duration::MAX, &String::new).flatten();
    Ok(match ending {
        Some(ending) => Reply::Ended { report: String::new(), status: status_of(ending) },
        None => Reply::Ended { report: service.obituary(), status: 125 },
    })
}

/// The command's environment with the node file's variables.
fn environment(inherited: &[Text], added: &[(String, String)]) -> Vec<Text> {
    let name = |text: &Text| text.as_bytes().split(|&byte| byte == b'=').next().map(<[u8]>::to_vec);
    let replaced = |text: &&Text| {
        !added.iter().any(|(other, _)| name(text).as_deref() == Some(other.as_bytes()))
    };
    let added = added.iter().map(|(name, value)| Text::from(format!("{name}={value}")));
    inherited.iter().filter(replaced).cloned().chain(added).collect()
}

/// The exit status that a shell would report.
pub fn status_of(ending: Ending) -> u8 {
    match ending {
        Ending::Exited(status) => status,
        Ending::Signaled(signal) => 128_u8.wrapping_add(signal as u8),
    }
}
