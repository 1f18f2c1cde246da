//! The proxy: the Linux process that stands for an LWK process.
//!
//! Linux knows nothing of a program in an LWK. This process is what Linux sees instead: it owns the program's file
//! descriptors, credentials, working directory and process id, shows the program's memory at the program's own
//! addresses, and makes each delegated call as if the program had made it. The VMM, the command or the agent makes it, the LWK feeds
//! it. It is the same in a service VM, where guest memory is a DAX device and the doorbell a socket.
//!
//! ```text
//! args -> server (poll, sleep, reply) -> process (what a request means) -> guard (what is let through)
//!                                           |                                  |
//!                                           +-> mirror (map log -> mmap)       +-> raw (the call; all unsafe code)
//! watch, a thread of its own: what the node says
//! ```
//!
//! Neither the LWK nor the program can make it panic or touch its own memory by an argument of a call. Buffers that are
//! named inside other buffers (`iovec`, `msghdr`, `ioctl` structures) are not looked at: Linux checks them
//! against this process, so a program can attack its own proxy with them and gets what its user may do anyway.

mod args;
mod error;
mod exe;
mod extents;
mod guard;
mod guest;
mod mirror;
mod plan;
mod process;
mod range;
mod raw;
mod rewrite;
mod server;
mod signals;
mod start;
mod watch;

use std::io::Write;
use std::process::ExitCode;

/// Exit status when the proxy itself fails, or the LWK breaks the protocol.
const FAILED: u8 = 125;

fn main() -> ExitCode {
    let result = args::Args::parse(std::env::args_os().skip(1))
        .map_err(error::ProxyError::from)
        .and_then(start::server)
        .and_then(server::Server::run);
    match result {
        Ok(never) => match never {},
        Err(error) => {
            if matches!(error, error::ProxyError::Gone) {
                // Who closed the doorbell may be saying why on the control connection.
                std::thread::sleep(watch::LAST_WORDS);
            }
            // A panic, where nobody reads it, would have another status.
            let _ = writeln!(std::io::stderr(), "margay-proxy: {}", error::Chain(&error));
            ExitCode::from(FAILED)
        }
    }
}
