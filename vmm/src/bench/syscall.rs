//! The rounds of `margay bench syscall`.

use margay_abi::boot::Delegation;

use super::child::{Place, Runner};
use super::figures::{Figures, Host, Round};
use super::floor;
use super::warm_file::WarmFile;
use super::{BenchError, Cores};
use crate::request::BenchRequest;
use crate::units::Bytes;

/// Rounds: floor, Linux and LWK are measured once in each. An odd number, so that a median is a measured value.
const ROUNDS: u32 = 5;
/// Round trips of the floor in a round: some 50 ms.
const FLOOR_ROUND_TRIPS: usize = 100_000;
/// Size of the file that is read.
const FILE_SIZE: Bytes = Bytes::gib(1);

/// Measures what system calls cost on the first cores of the request's partition; some 20 s. `progress` is told what
/// comes next.
///
/// # Errors
/// [`BenchError`]: a core that cannot be used, a program that is missing or fails, no room for the file. Never a timing.
pub fn measure(
    request: &BenchRequest,
    mut progress: impl FnMut(&str),
) -> Result<Figures, BenchError> {
    let cores = Cores::of(&request.partition);
    let runner = Runner::new(&request.partition)?;
    progress("looking at the host");
    let host = Host::collect(cores, request.partition.lwks[0].isolation, ROUNDS);
    progress("writing the file to read");
    let file = WarmFile::create(FILE_SIZE)?;
    let tsc_hz = host.tsc_hz as f64;
    let bench = Bench { runner, cores, samples: request.calls, tsc_hz, file };
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        rounds.push(bench.round(|what| progress(&format!("round {number} of {ROUNDS}: {what}")))?);
    }
    Ok(Figures::new(host, &rounds, FILE_SIZE))
}

struct Bench {
    runner: Runner,
    cores: Cores,
    samples: u32,
    tsc_hz: f64,
    file: WarmFile,
}

impl Bench {
    fn round(&self, mut progress: impl FnMut(&str)) -> Result<Round, BenchError> {
        let path = self.file.path();
        progress("cache-line ping-pong");
        let floor = floor::measure(self.cores, FLOOR_ROUND_TRIPS, self.tsc_hz)?;
        progress("calls in the LWK, queue");
        let queue = self.runner.syscalls(Place::Lwk(Delegation::Queue), self.samples)?;
        progress("calls on Linux");
        let host = self.runner.syscalls(Place::Host, self.samples)?;
        progress("calls in the LWK, hypercall");
        let hypercall = self.runner.syscalls(Place::Lwk(Delegation::Hypercall), self.samples)?;
        progress("reading on Linux");
        let read_host_gbs = self.runner.read_gbs(Place::Host, path.as_os_str())?;
        progress("reading in the LWK");
        let read_lwk_gbs = self.runner.read_gbs(Place::Lwk(Delegation::Queue), path.as_os_str())?;
        Ok(Round {
            floor,
            host_getpid: host.get("getpid")?,
            local_getpid: queue.get("getpid")?,
            queue: queue.get("getppid")?,
            hypercall: hypercall.get("getppid")?,
            exit: hypercall.get("exit")?,
            read_host_gbs,
            read_lwk_gbs,
        })
    }
}
