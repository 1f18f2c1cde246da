//! What commands and a node say to each other: one request for each connection, then its replies.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use margay_protocol::agent::WindowSize;
use margay_protocol::{Launch, Text};
use serde::{Deserialize, Serialize};

use crate::node::status::NodeStatus;
use crate::relay;

/// Command to node, the first frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// What is everything at? Answer: [`Reply::Status`].
    Status,
    /// What was said about an LWK, or "service"? Answers: [`Reply::Text`], then the end.
    Log {
        /// The LWK.
        of: String,
        /// Go on with what will be said.
        follow: bool,
    },
    /// The figures of an LWK's last program. Answer: [`Reply::Text`].
    Figures {
        /// The LWK.
        of: String,
        /// As JSON.
        json: bool,
    },
    /// Boot an LWK, or "service", anew. Answer: [`Reply::Done`].
    Restart {
        /// The LWK.
        of: String,
        /// From this image, from now on.
        image: Option<PathBuf>,
    },
    /// Stop an LWK. Answer: [`Reply::Done`].
    Stop {
        /// The LWK.
        of: String,
    },
    /// End the node. Answer: [`Reply::Done`] when nothing is left of it but the process that answers.
    Down {
        /// Also when programs run.
        force: bool,
    },
    /// Run a program.
    Exec(Box<Exec>),
}

/// Where a program is to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecPlace {
    /// In the first LWK that is ready.
    AnyLwk,
    /// In the LWK of this name.
    Lwk(String),
    /// In the service VM's own Linux.
    Service,
}

/// A program to run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exec {
    /// Where.
    pub place: ExecPlace,
    /// Whether its calls are timed.
    pub statistics: bool,
    /// Its name and arguments; empty: the node file's.
    pub args: Vec<Text>,
    /// The command's environment, `NAME=value`.
    pub env: Vec<Text>,
    /// The command's working directory.
    pub directory: Text,
    /// Size of the command's terminal, if its standard streams are one.
    pub window: Option<WindowSize>,
}

impl Exec {
    /// With this process's environment, directory and terminal; anything, anywhere.
    pub fn from_here() -> Exec {
        let variable = |(name, value): (OsString, OsString)| {
            Text(OsString::from_iter([name, "=".into(), value]))
        };
        Exec {
            place: ExecPlace::AnyLwk,
            statistics: false,
            args: Vec::new(),
            env: env::vars_os().map(variable).collect(),
            directory: env::current_dir().unwrap_or_else(|_| "/".into()).into(),
            window: relay::window(),
        }
    }
}

/// Node to command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The state of everything.
    Status(Box<NodeStatus>),
    /// Some text, in whole lines.
    Text(String),
    /// It was done: what there is to say.
    Done(String),
    /// It was not done.
    Refused {
        /// Why.
        message: String,
        /// What to do, if that is known.
        hint: Option<String>,
        /// The command's exit status.
        status: u8,
    },
    /// To [`Exec`], host: become the proxy. Three descriptors follow: memory, kick, wake. The command answers with
    /// [`Launch`] and then the connection is the proxy's.
    Granted(Box<Grant>),
    /// To [`Exec`], service VM: descriptors follow, the ends of the program's streams: one for a terminal, else standard
    /// input, output, error. Then the command sends [`FromRelay`], and the node [`Reply::Ended`].
    Relayed {
        /// Whether it is a terminal.
        terminal: bool,
    },
    /// The program has ended.
    Ended {
        /// A report, in whole lines, or nothing.
        report: String,
        /// The command's exit status.
        status: u8,
    },
}

/// What a command needs to become a proxy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Grant {
    /// The LWK's name.
    pub lwk: String,
    /// Bytes of the LWK's memory.
    pub memory_bytes: u64,
    /// Bytes of the program's stack.
    pub stack_bytes: u64,
    /// How long the proxy polls before it sleeps, in microseconds.
    pub spin_us: u64,
    /// The service OS's cores, as a list of ranges.
    pub cores: String,
    /// Program and arguments.
    pub args: Vec<Text>,
    /// Variables that the node file adds.
    pub env: Vec<(String, String)>,
}

/// Command to node, after [`Reply::Granted`]: the program is found and checked, this process is about to become its proxy;
/// or why not, which ends it.
pub type Launched = Result<Launch, String>;

/// Command to node, after [`Reply::Relayed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromRelay {
    /// The command got this signal, which is meant for the program.
    Signal(i32),
    /// Its terminal's size has changed.
    Resize(WindowSize),
}
