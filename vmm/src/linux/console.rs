//! What a guest has written on its console: the last of it, for whoever has to say why the guest does not answer.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that are kept.
const CAPACITY: usize = 64 << 10;

/// The end of a guest's console output. Written by the serial port, read by anybody.
#[derive(Debug, Default)]
pub struct Console {
    log: Mutex<Log>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Log {
    kept: VecDeque<u8>,
    /// Bytes ever written.
    written: u64,
}

/// New output of a console.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Output {
    /// The bytes, as the guest wrote them.
    pub bytes: Vec<u8>,
    /// The position after them, from which to ask again.
    pub next: u64,
    /// Bytes between the position asked for and the first of `bytes`, that are not kept any more.
    pub missed: u64,
}

impl Console {
    /// The last `lines` lines, without what is not text: terminal control sequences' escape characters, carriage returns.
    pub fn tail(&self, lines: usize) -> String {
        let bytes: Vec<u8> = self.lock().kept.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text.lines().collect();
        let last = all[all.len().saturating_sub(lines)..].iter();
        let printable = |line: &&str| line.chars().filter(|c| !c.is_control()).collect::<String>();
        last.map(printable).collect::<Vec<_>>().join("\n")
    }

    /// Output from byte `position` on (0 is the first that the guest ever wrote). Waits up to `patience` for some to come.
    pub fn follow(&self, position: u64, patience: Duration) -> Output {
        let deadline = Instant::now() + patience;
        let mut log = self.lock();
        while log.written <= position {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Output { next: position, ..Output::default() };
            }
            (log, _) = self.grown.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner);
        }
        let first = log.written - log.kept.len() as u64;
        let from = position.max(first);
        let bytes = log.kept.range((from - first) as usize..).copied().collect();
        Output { bytes, next: log.written, missed: from - position }
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        // The log is whole between any two statements that can panic.
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the guest writes to: the serial port's end, and the virtio console's.
#[derive(Clone, Debug)]
pub struct ConsoleWriter(pub Arc<Console>);

impl io::Write for ConsoleWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Write for &Console {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.lock();
        log.kept.extend(bytes);
        log.written += bytes.len() as u64;
        let surplus = log.kept.len().saturating_sub(CAPACITY);
        log.kept.drain(..surplus);
        self.grown.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{CAPACITY, Console};
    use std::io::Write;
    use std::time::Duration;

    #[test]
    fn the_tail_is_the_last_lines() {
        let console = Console::default();
        (&console).write_all(b"one\r\ntwo\r\n\x1b[1mthree").unwrap();
        assert_eq!(console.tail(2), "two\n[1mthree");
        assert_eq!(console.tail(9), "one\ntwo\n[1mthree");
        assert_eq!(Console::default().tail(3), "");
    }

    #[test]
    fn a_follower_sees_everything_or_learns_how_much_it_missed() {
        let console = Console::default();
        (&console).write_all(b"ab").unwrap();
        let first = console.follow(0, Duration::ZERO);
        assert_eq!((first.bytes.as_slice(), first.next, first.missed), (&b"ab"[..], 2, 0));
        assert_eq!(console.follow(2, Duration::ZERO).bytes, b"");
        (&console).write_all(&vec![b'x'; CAPACITY + 5]).unwrap();
        let rest = console.follow(first.next, Duration::ZERO);
        assert_eq!((rest.bytes.len(), rest.missed), (CAPACITY, 5));
    }

    #[test]
    fn a_follower_is_woken() {
        let console = Console::default();
        std::thread::scope(|scope| {
            let follower = scope.spawn(|| console.follow(0, Duration::from_secs(20)));
            std::thread::sleep(Duration::from_millis(10));
            (&console).write_all(b"here").unwrap();
            assert_eq!(follower.join().unwrap().bytes, b"here");
        });
    }
}
