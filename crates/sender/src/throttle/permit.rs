//! Permits for calls, and the line of commands that wait for one.

use std::time::Duration;

use tokio::time::Instant;

use super::breaker::{BreakerChange, CallKind};
use super::outcome::CallOutcome;
use super::turns::{Place, Requester};
use super::{Denied, Throttle};

/// Longest jitter that a waiting command adds to the time from which a call may be made.
const JITTER_MAX: Duration = Duration::from_secs(1);
/// Time after which an unused permit expires, so that hoarded permits cannot cause a burst.
const PERMIT_TTL: Duration = Duration::from_millis(200);

/// Permit for one call. Dropping it without [`Permit::record`] reports nothing about the account.
#[derive(Debug)]
pub(crate) struct Permit {
    throttle: Throttle,
    call: CallKind,
    is_recorded: bool,
    given_at: Instant,
}

impl Permit {
    pub(super) fn new(throttle: Throttle, call: CallKind, now: Instant) -> Self {
        Self { throttle, call, is_recorded: false, given_at: now }
    }

    /// Whether the permit is still valid. Many old permits would cause a burst of calls.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.given_at) < PERMIT_TTL
    }

    /// Reports what the call showed about the account.
    pub(crate) fn record(mut self, outcome: CallOutcome, now: Instant) -> Option<BreakerChange> {
        self.is_recorded = true;
        self.throttle.record(self.call, outcome, now)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_recorded {
            self.throttle.record(self.call, CallOutcome::Neutral, Instant::now());
        }
    }
}

/// A position in the line of commands that wait for a permit by themselves.
#[derive(Debug)]
pub(crate) struct WaitingPlace {
    throttle: Throttle,
    place: Place,
}

impl WaitingPlace {
    /// Enters the line.
    pub(super) fn new(throttle: Throttle, place: Place) -> Self {
        throttle.state().turns.enter(place);
        Self { throttle, place }
    }

    /// Returns a permit for one call, or why it is not available.
    pub(crate) fn try_acquire(&self, now: Instant) -> Result<Permit, Denied> {
        self.throttle.try_acquire_as(Requester::Waiting(self.place), now)
    }

    /// Returns a jitter to add to the time at which a call may be made, so that commands do not compete for one permit.
    pub(crate) fn jitter(&self) -> Duration {
        let state = self.throttle.state();
        let longest = (state.rate.interval() * state.turns.waiting()).min(JITTER_MAX);
        longest.mul_f64(fastrand::f64())
    }
}

impl Drop for WaitingPlace {
    fn drop(&mut self) {
        self.throttle.state().turns.leave(self.place);
    }
}
