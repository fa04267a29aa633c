//! Rate limit for log lines that an outage would repeat for every message. A line says how many were left out.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Shortest interval of two log lines of the same kind.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Rate limit of one kind of log line: a `static` beside the code that writes it. It takes no lock.
#[derive(Debug)]
pub struct RateLimitedLog {
    /// When the next line may be written, in milliseconds after [`began`].
    next_ms: AtomicU64,
    left_out: AtomicU64,
}

/// Permission to write one line. Its text, for the end of the line, says how many lines were left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeats {
    left_out: u64,
}

impl fmt::Display for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.left_out {
            0 => Ok(()),
            1 => f.write_str(" (1 more line like this one was left out)"),
            count => write!(f, " ({count} more lines like this one were left out)"),
        }
    }
}

/// The first use of any kind of line in this process.
fn began() -> Instant {
    /// Start of the process, from which the times of log lines are counted.
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    *BEGAN.get_or_init(Instant::now)
}

impl RateLimitedLog {
    /// A kind of which no line was written yet.
    pub const fn new() -> Self {
        Self { next_ms: AtomicU64::new(0), left_out: AtomicU64::new(0) }
    }

    /// Permission to write a line now. If `None`, the line is counted as left out.
    pub fn next(&self) -> Option<Repeats> {
        self.turn_at(began().elapsed())
    }

    fn turn_at(&self, now: Duration) -> Option<Repeats> {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let next_ms = self.next_ms.load(Ordering::Relaxed);
        let after_ms = now_ms.saturating_add(LINE_EVERY.as_millis() as u64);
        let is_due = now_ms >= next_ms
            && self.next_ms.compare_exchange(next_ms, after_ms, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if !is_due {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(Repeats { left_out: self.left_out.swap(0, Ordering::Relaxed) })
    }
}

impl Default for RateLimitedLog {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_written_in_a_while_and_the_others_are_counted() {
        let (line, at) = (RateLimitedLog::new(), Duration::from_millis);
        assert_eq!(line.turn_at(at(7)).unwrap().to_string(), "");
        for ms in 8..108 {
            assert_eq!(line.turn_at(at(ms)), None);
        }
        let turn = line.turn_at(at(5_007)).unwrap();
        assert_eq!(turn.to_string(), " (100 more lines like this one were left out)");
        assert_eq!(line.turn_at(at(10_006)), None);
        assert_eq!(line.turn_at(at(10_007)), Some(Repeats { left_out: 1 }));
    }
}
