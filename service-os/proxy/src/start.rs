//! From the command line to a server.

use std::fs::{self, File};
use std::io;
use std::os::fd::RawFd;

use margay_abi::layout::{CHANNELS, USER_END};
use margay_channel::Device;

use crate::args::Args;
use crate::error::ProxyError;
use crate::exe::Exe;
use crate::guard::Reserved;
use crate::guest::GuestMemory;
use crate::process::Process;
use crate::server::{Doorbell, Server};
use crate::{raw, signals, watch};

/// The server of the LWK's first thread, in this thread.
///
/// # Errors
/// Anything that the proxy's maker should have set up and did not.
pub fn server(args: Args) -> Result<Server, ProxyError> {
    let maps = fs::read_to_string("/proc/self/maps").map_err(ProxyError::OwnMappings)?;
    check_territory(&maps)?;
    signals::set_up(args.control.map(|_| watch::SIGNAL)).map_err(ProxyError::Signals)?;
    let exe = Exe::new(&args.program)
        .map_err(|source| ProxyError::Program { path: args.program, source })?;

    let reserved = Reserved::new(args.fds, args.control);
    let not_memory =
        |source| ProxyError::Descriptor { fd: reserved.memory(), what: MEMORY, source };
    let memory = GuestMemory::new(inherit(reserved.memory(), MEMORY)?, args.memory_bytes)
        .map_err(not_memory)?;
    let kick = inherit(reserved.kick(), KICK)?;
    if !raw::is_blocking(&kick) {
        let source = io::Error::other("it is non-blocking");
        return Err(ProxyError::Descriptor { fd: reserved.kick(), what: KICK, source });
    }
    let wake = inherit(reserved.wake(), "way to interrupt the guest")?;
    let shared = raw::Shared::map(&memory).map_err(not_memory)?;
    let process = Process::new(memory, shared.map_log(), reserved, exe);
    if let Some(fd) = args.control {
        watch::start(inherit(fd, "control connection")?).map_err(ProxyError::Watch)?;
    }
    let device = Device::new(shared.channel(0), CHANNELS);
    Ok(Server::new(device, Doorbell::new(kick, wake, args.spin), process))
}

const MEMORY: &str = "guest memory";
const KICK: &str = "doorbell, which must block";

fn inherit(fd: RawFd, what: &'static str) -> Result<File, ProxyError> {
    raw::inherit(fd).map_err(|source: io::Error| ProxyError::Descriptor { fd, what, source })
}

/// Checks that nothing of this process lies in the program's addresses, given `/proc/self/maps`. Linux puts new mappings near
/// the stack, so nothing will either.
fn check_territory(maps: &str) -> Result<(), ProxyError> {
    let start = |line: &str| u64::from_str_radix(line.split('-').next()?, 16).ok();
    match maps.lines().find(|line| start(line).is_none_or(|start| start < USER_END)) {
        Some(line) => Err(ProxyError::Territory(line.to_owned())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::check_territory;

    #[test]
    fn a_mapping_in_the_programs_addresses_is_found() {
        let high = "7ffff7fc1000-7ffff7fc5000 r--p 00000000 00:00 0    [vvar]\n\
                    ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0    [vsyscall]\n";
        check_territory(high).unwrap();
        let fixed = format!("00400000-00401000 r--p 00000000 08:01 42    /proxy\n{high}");
        let error = check_territory(&fixed).unwrap_err().to_string();
        assert!(error.contains("00400000-00401000 r--p"), "{error}");
        check_territory("garbage").unwrap_err();
    }
}
