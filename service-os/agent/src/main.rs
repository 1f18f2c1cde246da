//! The agent: what the node has of its own inside a service VM.
//!
//! The VMM gives a stock Linux kernel CPUs, memory and devices; nothing in there knows of nodes. This program does: it starts proxies
//! for programs in LWKs, and programs on this Linux itself, gives them the streams that the node connects, and says how
//! they end. As process 1 of the default initramfs it also brings the system up; in a user's own distribution it is
//! a service like others, and expects to find that done.
//!
//! ```text
//! init (process 1 only) -> dax (memory of LWKs) -> listen -> connection -> control (pings, power)
//!                                                                |
//!                                                                +-> streams (rendezvous) -> session (orders, events)
//!                                                                                              |
//!                       children (processes and their ends) <- prepare (in the child) <- launch +-> terminal
//! ```
//!
//! One thread for each connection: there are few, and each does one thing in order. No call of a program in an LWK passes here.

mod args;
mod children;
mod connection;
mod console;
mod control;
mod dax;
mod descriptors;
mod error;
mod init;
mod launch;
mod listen;
mod lookup;
mod oom;
mod prepare;
mod refusal;
mod relay;
mod service;
mod session;
mod streams;
mod terminal;

use std::convert::Infallible;
use std::process::ExitCode;
use std::sync::Arc;

use args::Args;
use children::Children;
use console::say;
use error::{AgentError, chain};
use listen::Listener;
use service::{Power, ProxyImage, Service};

fn main() -> ExitCode {
    match run() {
        Ok(never) => match never {},
        Err(error) => {
            say(&chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Sets everything up, then serves for ever. What process 1 says when it ends is the last thing on the console before the
/// kernel's panic.
fn run() -> Result<Infallible, AgentError> {
    let args = if init::is_first_process() {
        Args::of_first_process()
    } else {
        Args::parse(std::env::args_os().skip(1))?
    };
    // Before the root changes, under which it might not be.
    let proxy = ProxyImage::open(&args.proxy);
    if args.power == Power::Kernel {
        init::bring_up()?;
    }
    oom::exempt();
    descriptors::leave_room()?;
    // Before there are other threads: they must all block what it waits for.
    let children = Children::watch()?;
    dax::prepare_all();
    let listener = Listener::bind(&args.listen)?;
    say("ready");
    let service = Arc::new(Service::new(children, proxy, args.power));
    listener.serve(|connection| connection::serve(connection, &service))
}
