//! The rate of a lane's calls: an even rate, and the time that the BSP asks for with `429` and `Retry-After`. Pure.

use std::time::Duration;

use tokio::time::Instant;

use super::Denied;

/// First pause after a 429 without `Retry-After`. It doubles until a message is accepted.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// Longest of these pauses.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Time for which an idle lane accumulates permits.
const BURST: Duration = Duration::from_millis(50);

/// Limits the rate of calls.
#[derive(Debug)]
pub(super) struct RateLimiter {
    interval: Duration,
    /// When the next call is due at an even rate.
    next_at: Instant,
    limited_until: Option<Instant>,
    /// Next pause after a 429 without `Retry-After`.
    pause: Duration,
}

impl RateLimiter {
    /// Allows this number of calls a second. It starts without accumulated permits, because another replica may have
    /// sent a moment ago.
    pub(super) fn new(calls_per_second: u32, now: Instant) -> Self {
        let interval = interval(calls_per_second);
        Self { interval, next_at: now, limited_until: None, pause: PAUSE_FIRST }
    }

    /// Changes the rate.
    pub(super) fn set_rate(&mut self, calls_per_second: u32) {
        self.interval = interval(calls_per_second);
    }

    /// Time between two calls at an even rate.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// Returns the time until which the BSP allows no calls, if it is not over.
    pub(super) fn limited_until(&self, now: Instant) -> Option<Instant> {
        self.limited_until.filter(|until| *until > now)
    }

    /// Takes the next call of the rate.
    ///
    /// # Errors
    /// [`Denied::Rate`] if it is not due yet.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Denied> {
        let next_at = self.next_at.max(now.checked_sub(BURST).unwrap_or(now));
        if next_at > now {
            return Err(Denied::Rate(next_at));
        }
        self.next_at = next_at + self.interval;
        Ok(())
    }

    /// Delays all calls until then, regardless of other responses.
    pub(super) fn limit(&mut self, until: Instant) {
        self.limited_until = Some(self.limited_until.map_or(until, |known| known.max(until)));
    }

    /// Delays all calls after a 429 that names no time. Of several that were in flight together, one counts.
    pub(super) fn limit_for_unknown_time(&mut self, now: Instant) {
        if self.limited_until(now).is_none() {
            self.limit(now + self.pause);
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }

    /// Records an accepted message: the next 429 without `Retry-After` gets the first pause.
    pub(super) fn accepted(&mut self) {
        self.pause = PAUSE_FIRST;
    }
}

fn interval(calls_per_second: u32) -> Duration {
    Duration::from_secs(1) / calls_per_second.max(1)
}
