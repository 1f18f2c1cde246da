//! Looks at a program before anything starts, so that a bad one is an error with its remedy and the exit status of a shell.
//!
//! Both who start programs need it: the command, for a program whose proxy runs on the host, and the agent of a service VM, whose
//! files only it can see. [`find`] looks for the file as `execvp(3)` does; [`ProgramFile::open`] also checks it for an LWK and holds
//! it open: what was checked is what will run, even if the path is replaced meanwhile. What such a file must be is
//! [`lwk_core::elf`]'s to say.

#![forbid(unsafe_code)]

mod error;
mod file;
mod search;

pub use error::ProgramError;
pub use file::ProgramFile;
pub use search::{Surroundings, find};
