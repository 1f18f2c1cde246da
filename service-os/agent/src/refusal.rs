//! Why a program is not started, in the words that its user will read.

use std::io;

use margay_program::ProgramError;
use margay_protocol::agent::{Event, Stream};

use crate::dax::DaxError;

/// Whatever fails that is not the program's fault.
const FAILED: u8 = 125;
/// A program that is there, but cannot be executed.
const CANNOT_EXECUTE: u8 = 126;

/// Why a program is not started.
#[derive(Debug, PartialEq, Eq)]
pub struct Refusal {
    message: String,
    hint: Option<String>,
    status: u8,
}

impl Refusal {
    /// Something that a start needs cannot be had.
    pub fn cannot(what: &str, error: &io::Error) -> Refusal {
        Refusal::of_agent(format!("the service VM cannot {what}: {error}"))
    }

    /// A node that does not keep to the protocol.
    pub fn order(message: &str) -> Refusal {
        Refusal::of_agent(format!("the service VM was given a wrong order: {message}"))
    }

    /// A stream that was announced and has not come.
    pub fn missing(stream: Stream) -> Refusal {
        Refusal::of_agent(format!("the stream {stream:?} has not reached the service VM"))
    }

    /// A program that Linux does not execute.
    pub fn execution(program: &str, error: &io::Error) -> Refusal {
        let (hint, status) = match error.raw_os_error() {
            Some(libc::ENOEXEC) => {
                (Some("a script begins with a line like #!/bin/sh"), CANNOT_EXECUTE)
            }
            Some(libc::ENOENT) => {
                (Some("its interpreter or dynamic loader is not in the service VM"), CANNOT_EXECUTE)
            }
            Some(libc::EACCES | libc::ELIBBAD | libc::EINVAL) => (None, CANNOT_EXECUTE),
            _ => (None, FAILED),
        };
        let message = format!("cannot execute {program}: {error}");
        Refusal { message, hint: hint.map(str::to_owned), status }
    }

    fn of_agent(message: String) -> Refusal {
        Refusal { message, hint: None, status: FAILED }
    }
}

impl From<ProgramError> for Refusal {
    fn from(error: ProgramError) -> Refusal {
        Refusal { message: error.to_string(), hint: error.hint(), status: error.status() }
    }
}

impl From<DaxError> for Refusal {
    fn from(error: DaxError) -> Refusal {
        Refusal { message: error.to_string(), hint: error.hint(), status: FAILED }
    }
}

impl From<Refusal> for Event {
    fn from(refusal: Refusal) -> Event {
        let Refusal { message, hint, status } = refusal;
        Event::Refused { message, hint, status }
    }
}
