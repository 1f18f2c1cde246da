//! Why a command's request was not done.

use std::io;

use margay_protocol::frame;

use super::Node;
use super::relayed::RelayError;
use super::slot::{Slot, Unavailable};
use crate::control::message::Reply;
use crate::lwk::LwkError;
use crate::service::ServiceError;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The LWK cannot run a program now.
    #[error("{0}")]
    Unavailable(#[from] Unavailable),
    /// No LWK of this name.
    #[error("there is no LWK {name} in this node; it has {known}")]
    NoSuchLwk {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// No LWK can run a program now: why each cannot.
    #[error("no LWK is ready: {0}")]
    NoneReady(String),
    /// Programs that would be ended.
    #[error("programs run: {0}; `margay down --force` ends them")]
    ProgramsRun(String),
    /// The LWK cannot be started.
    #[error("{0}")]
    Launch(#[from] LwkError),
    /// The program cannot be started in the service VM.
    #[error("{0}")]
    Relay(#[from] RelayError),
    /// Neither command nor node file name a program for this LWK.
    #[error("{0} names no program; name one: margay exec -- PROGRAM")]
    NoProgram(String),
    /// The service VM.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// There is no service VM.
    #[error("this node's service OS is the host itself")]
    HostService,
    /// Nothing has run in this LWK.
    #[error("no program has run in {0} yet")]
    NoFigures(String),
    /// The command is gone, or has told its user itself.
    #[error("the command has gone")]
    Gone,
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Refusal {
        Refusal::Gone
    }
}

impl From<frame::FrameError> for Refusal {
    fn from(_: frame::FrameError) -> Refusal {
        Refusal::Gone
    }
}

impl Refusal {
    /// What the command is told.
    pub fn into_reply(self) -> Reply {
        let (message, status) = (self.to_string(), self.status());
        let hint = match self {
            Refusal::Relay(RelayError::Refused { hint, .. }) => hint,
            _ => None,
        };
        Reply::Refused { message, hint, status }
    }

    const fn status(&self) -> u8 {
        match self {
            Refusal::NoSuchLwk { .. } | Refusal::NoProgram(_) => 2,
            Refusal::Relay(RelayError::Refused { status, .. }) => *status,
            _ => 125,
        }
    }
}

/// The LWK of this name.
///
/// # Errors
/// [`Refusal::NoSuchLwk`]
pub fn find<'n>(node: &'n Node, name: &str) -> Result<&'n Slot, Refusal> {
    node.slot(name).ok_or_else(|| {
        let known: Vec<&str> = node.slots().iter().map(Slot::name).collect();
        Refusal::NoSuchLwk { name: name.to_owned(), known: known.join(", ") }
    })
}
