//! A moment by two clocks. A suspended machine stops the monotonic clock, and the wall clock may be set: an age counts by the
//! clock that has advanced further. Pure but for [`Moment::now`].

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// A moment by the monotonic and by the wall clock.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// By the monotonic clock of this process.
    pub instant: Instant,
    /// By the wall clock, in milliseconds since 1970.
    pub unix_ms: i64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { instant: Instant::now(), unix_ms: Timestamp::now().as_millisecond() }
    }

    /// Returns the moment that is this much later by both clocks.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        let time_ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self { instant: self.instant + time, unix_ms: self.unix_ms.saturating_add(time_ms) }
    }

    /// Returns the age at `now`; `None` if the wall clock was set back, so that the age is unknown.
    #[must_use]
    pub fn age_at(self, now: Self) -> Option<Duration> {
        let by_wall_ms = u64::try_from(now.unix_ms - self.unix_ms).ok()?;
        let by_instant = now.instant.saturating_duration_since(self.instant);
        Some(by_instant.max(Duration::from_millis(by_wall_ms)))
    }

    /// Whether this moment has come at `now` by either clock.
    #[must_use]
    pub fn has_come_at(self, now: Self) -> bool {
        now.instant >= self.instant || now.unix_ms >= self.unix_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspended_machine_ages_a_moment_by_its_wall_clock() {
        let begun = Moment { instant: Instant::now(), unix_ms: 5_000 };
        let second = Duration::from_secs(1);
        assert_eq!(begun.age_at(begun.plus(second)), Some(second));
        // The monotonic clock was stopped for 9 s, or the wall clock was set forward.
        let resumed = Moment { unix_ms: 15_000, ..begun.plus(second) };
        assert_eq!(begun.age_at(resumed), Some(10 * second));
        assert!(begun.plus(10 * second).has_come_at(resumed));
        assert!(!begun.plus(11 * second).has_come_at(resumed));
        // The wall clock was set back.
        let set_back = Moment { unix_ms: 4_000, ..begun.plus(second) };
        assert_eq!(begun.age_at(set_back), None);
        assert!(begun.plus(second).has_come_at(set_back) && !begun.plus(2 * second).has_come_at(set_back));
    }
}
