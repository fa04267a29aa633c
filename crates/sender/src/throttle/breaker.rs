//! The circuit breaker of an account: it is open while the account fails. Then only probes are made, one at a time, with
//! growing pauses. Pure.
//!
//! ```text
//!           several failures in a row, or a refused call
//! closed ───────────────────────────────────────────────► open ◄──────┐
//!    ▲                                                     │ pause    │ the probe fails: twice the pause
//!    └───────── the probe is answered ───── probing ◄──────┘ is over ─┘
//! ```

use std::time::Duration;

use tokio::time::Instant;

/// Failed calls in a row after which the breaker opens. A refused call opens it immediately.
const FAILURES_MAX: u32 = 5;
/// First pause of an account that fails.
pub(super) const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// Longest pause of an account that fails.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A change of state, to be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BreakerChange {
    /// No call is made for this time.
    Paused(Duration),
    /// Calls are made again.
    Opened,
}

/// Which call is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallKind {
    /// A call at the lane's rate.
    Regular,
    /// The only call to an account that fails.
    Probe,
}

/// Why and until when no calls are made to an account.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) until: Instant,
    /// The last failure, for people.
    pub(super) why: String,
}

/// Stops calls to an account that fails.
#[derive(Debug)]
pub(super) struct Breaker {
    failures: u32,
    pause: Duration,
    open: Option<Open>,
    is_probing: bool,
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self { failures: 0, pause: PAUSE_FIRST, open: None, is_probing: false }
    }

    /// Returns why and until when no calls are made; `None` while the account works.
    pub(super) fn open(&self) -> Option<&Open> {
        self.open.as_ref()
    }

    /// Whether a probe is in flight.
    pub(super) fn is_probing(&self) -> bool {
        self.is_probing
    }

    /// Records that a probe was started.
    pub(super) fn probe(&mut self) {
        self.is_probing = true;
    }

    /// Records that a call has ended, before its outcome is recorded.
    pub(super) fn ended(&mut self, call: CallKind) {
        if call == CallKind::Probe {
            self.is_probing = false;
        }
    }

    /// Records that the account answered.
    pub(super) fn answered(&mut self) -> Option<BreakerChange> {
        self.failures = 0;
        self.pause = PAUSE_FIRST;
        self.open.take().map(|_| BreakerChange::Opened)
    }

    /// Records a call without an answer. Calls that were in flight when the breaker opened do not change it.
    pub(super) fn failed(&mut self, call: CallKind, why: &str, now: Instant) -> Option<BreakerChange> {
        self.failures = self.failures.saturating_add(1);
        let opens = self.failures >= FAILURES_MAX && self.open.is_none();
        (call == CallKind::Probe || opens).then(|| self.pause(why.to_owned(), now))
    }

    /// Records a call that the account refused regardless of its content.
    pub(super) fn refused(&mut self, call: CallKind, why: String, now: Instant) -> Option<BreakerChange> {
        (call == CallKind::Probe || self.open.is_none()).then(|| self.pause(why, now))
    }

    fn pause(&mut self, why: String, now: Instant) -> BreakerChange {
        let pause = self.pause;
        self.open = Some(Open { until: now + pause, why });
        self.pause = (pause * 2).min(PAUSE_MAX);
        BreakerChange::Paused(pause)
    }
}
