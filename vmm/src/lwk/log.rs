//! What an LWK, and Margay about it, has to say: kept for `margay log`, and printed at once where somebody watches.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// Text that is kept, in bytes; older text goes.
const KEPT: usize = 64 << 10;

/// A log. Any thread may write and read.
#[derive(Debug)]
pub struct Log {
    name: String,
    echo: Echo,
    kept: Mutex<Kept>,
    grown: Condvar,
}

/// Whether a log is also printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Echo {
    /// On standard error, without times: somebody watches.
    StandardError,
    /// Not: a node in the background.
    No,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
    /// Lines ever written.
    written: u64,
}

impl Log {
    /// An empty log about `name`.
    pub fn new(name: &str, echo: Echo) -> Log {
        Log {
            name: name.to_owned(),
            echo,
            kept: Mutex::new(Kept::default()),
            grown: Condvar::new(),
        }
    }

    /// Adds what the LWK says.
    pub fn say(&self, text: &str) {
        self.add(text, &format!("margay: {}: ", self.name));
    }

    /// Adds a message or report of Margay's, which names itself.
    pub fn report(&self, text: &str) {
        self.add(text, "");
    }

    /// Lines from number `from` on, the oldest that is kept being the first if that is later, and the number of the next.
    pub fn read(&self, from: u64) -> (String, u64) {
        let kept = self.lock();
        let oldest = kept.written - kept.lines.len() as u64;
        let skip = from.saturating_sub(oldest) as usize;
        (kept.lines.iter().skip(skip).map(String::as_str).collect(), kept.written)
    }

    /// Waits until there is a line number `from`, at most for `limit`.
    pub fn wait(&self, from: u64, limit: Duration) {
        let waited = self.grown.wait_timeout_while(self.lock(), limit, |kept| kept.written <= from);
        drop(waited);
    }

    fn add(&self, text: &str, prefix: &str) {
        if self.echo == Echo::StandardError {
            // Standard error may be closed; then nobody watches.
            let _ = write!(std::io::stderr(), "{prefix}{text}");
        }
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut kept = self.lock();
        for line in text.lines() {
            let line = format!("{}.{:03} {line}\n", since.as_secs(), since.subsec_millis());
            kept.bytes += line.len();
            kept.written += 1;
            kept.lines.push_back(line);
        }
        while kept.bytes > KEPT {
            let Some(line) = kept.lines.pop_front() else { break };
            kept.bytes -= line.len();
        }
        self.grown.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{Echo, KEPT, Log};

    #[test]
    fn a_reader_gets_each_line_once_and_only_what_is_kept() {
        let log = Log::new("lwk0", Echo::No);
        log.say("one\ntwo\n");
        let (text, next) = log.read(0);
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains(" one\n") && text.ends_with(" two\n"), "{text}");
        log.report("three");
        let (text, next) = log.read(next);
        assert!(text.ends_with(" three\n") && text.lines().count() == 1, "{text}");
        assert_eq!(log.read(next).0, "");
        for _ in 0..KEPT / 100 {
            log.say(&"x".repeat(200));
        }
        let (text, _) = log.read(0);
        assert!(text.len() <= KEPT && text.len() > KEPT / 2, "{}", text.len());
    }
}
