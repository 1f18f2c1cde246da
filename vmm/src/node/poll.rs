//! Waiting for several descriptors.

use std::os::fd::RawFd;
use std::time::Duration;

/// Those of `sources` that are readable, ended or failed, waiting at most `limit` for the first. None: the time is over, or a
/// signal came.
pub fn readable(sources: &[RawFd], limit: Duration) -> Vec<RawFd> {
    let mut polled: Vec<libc::pollfd> =
        sources.iter().map(|&fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    // Rounded up, or a wait for the last half millisecond would spin.
    let timeout = limit.as_nanos().div_ceil(1_000_000).min(i32::MAX as u128) as i32;
    // SAFETY: the pointer and the count describe the vector.
    let ready = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout) };
    if ready <= 0 {
        return Vec::new();
    }
    polled.iter().filter(|polled| polled.revents != 0).map(|polled| polled.fd).collect()
}
