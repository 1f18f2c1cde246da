//! Where a session meets its streams: they come on connections of their own, in any order.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use margay_protocol::agent::Stream;

/// How long a session waits for a stream that its node has announced.
const PATIENCE: Duration = Duration::from_secs(10);

/// A session's streams.
pub type Set = HashMap<Stream, OwnedFd>;

/// Streams whose session has not taken them.
#[derive(Debug, Default)]
pub struct Streams {
    waiting: Mutex<HashMap<u64, Set>>,
    arrived: Condvar,
}

impl Streams {
    /// A stream has come.
    pub fn put(&self, session: u64, stream: Stream, connection: OwnedFd) {
        self.lock().entry(session).or_default().insert(stream, connection);
        self.arrived.notify_all();
    }

    /// Takes a session's streams, all of which were announced: waits for those that are still on their way.
    ///
    /// # Errors
    /// One that has not come in time.
    pub fn take(&self, session: u64, announced: &[Stream]) -> Result<Set, Stream> {
        let missing = |waiting: &HashMap<u64, Set>| {
            let here = waiting.get(&session);
            announced
                .iter()
                .copied()
                .find(|stream| here.is_none_or(|set| !set.contains_key(stream)))
        };
        let (mut waiting, _) = self
            .arrived
            .wait_timeout_while(self.lock(), PATIENCE, |waiting| missing(waiting).is_some())
            .unwrap_or_else(PoisonError::into_inner);
        match missing(&waiting) {
            Some(stream) => Err(stream),
            None => Ok(waiting.remove(&session).unwrap_or_default()),
        }
    }

    /// Closes what a session has not taken.
    pub fn discard(&self, session: u64) {
        self.lock().remove(&session);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Set>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::thread;
    use std::time::Duration;

    use super::{Stream, Streams};

    #[test]
    fn a_session_gets_its_own_streams_whenever_they_come() {
        let null = || File::open("/dev/null").unwrap().into();
        let streams = Streams::default();
        streams.put(1, Stream::Stdin, null());
        streams.put(2, Stream::Stdin, null());
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(20));
                streams.put(1, Stream::Doorbell, null());
            });
            let set = streams.take(1, &[Stream::Stdin, Stream::Doorbell]).unwrap();
            assert_eq!(set.len(), 2);
        });
        assert!(streams.take(3, &[]).unwrap().is_empty());
        streams.discard(2);
        assert!(streams.take(2, &[]).unwrap().is_empty());
    }
}
