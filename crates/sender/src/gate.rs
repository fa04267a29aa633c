//! When a lane may call its BSP: at the channel's rate, not before the time that `Retry-After` names, and not while the
//! account fails. Pure but for the lock around it; `now` is an argument.
//!
//! A lane whose account fails makes one call at a time, a probe, to find out whether the account works again. Probes
//! take turns between commands ([`turns`](mod@turns)), because one command may be refused for a reason that concerns it
//! alone.

pub(crate) mod turns;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::gate::turns::{Place, Turns, Who};

/// Failed calls in a row after which the breaker opens. A refused call opens it immediately.
const FAILURES_MAX: u32 = 5;
/// First pause of a broken account.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// Longest pause of a broken account.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Longest jitter that a waiting command adds to the time from which a call may be made.
const JITTER_MAX: Duration = Duration::from_secs(1);
/// Time after which an unused permit expires, so that hoarded permits cannot cause a burst.
const PERMIT_TTL: Duration = Duration::from_millis(200);
/// Time for which an idle lane accumulates permits.
const BURST: Duration = Duration::from_millis(50);

/// What a call shows about the state of its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    /// The account accepts messages.
    Accepted,
    /// The account responds to messages.
    Answered,
    /// The BSP does not respond, or fails. Several of these in a row pause the lane.
    Failed(&'static str),
    /// The account refuses calls regardless of their content. The lane is paused immediately.
    Refused(AccountRefusal),
    /// Too many calls (429). The lane is paused for the `Retry-After` of the BSP.
    RateLimited {
        /// `Retry-After` of the response, if there is one.
        after: Option<Duration>,
        /// See [`AccountRefusal::is_alone`]. The lane obeys `Retry-After` in either case.
        is_alone: bool,
    },
    /// The call shows nothing about the account.
    Neutral,
}

/// A call that had no effect, for a reason other than its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountRefusal {
    /// The reason, for people.
    pub(crate) why: String,
    /// `Retry-After` of the BSP or of a proxy in front of it, if there is one.
    pub(crate) after: Option<Duration>,
    /// Whether other commands were accepted since this one was refused before. Then the account works, and only this
    /// command
    /// waits.
    pub(crate) is_alone: bool,
}

/// A change of state, to be logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BreakerChange {
    /// No call is made for this time.
    Paused(Duration),
    /// Calls are made again.
    Opened,
}

/// Why no call may be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The rate is used up until then.
    Rate(Instant),
    /// `Retry-After` lasts until then.
    Limited(Instant),
    /// The account fails. The next probe is made then.
    Broken(Instant),
    /// Another command is the probe, or is about to be.
    Probing,
    /// The channel is paused, or something that every call needs is missing.
    Halted,
}

/// Why a lane sends nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reason {
    /// The reason as text for people. The text stays the same while the reason does.
    pub(crate) why: String,
    /// Time until the next call, if it is known.
    pub(crate) next_try: Option<Duration>,
}

/// Why and until when no calls are made to an account.
#[derive(Debug)]
struct Broken {
    until: Instant,
    why: String,
}

#[derive(Debug)]
struct State {
    interval: Duration,
    /// When the next call is due at an even rate.
    next_at: Instant,
    limited_until: Option<Instant>,
    /// Next pause after a 429 without `Retry-After`.
    limit_pause: Duration,
    failures: u32,
    pause: Duration,
    broken: Option<Broken>,
    is_probing: bool,
    /// Number of accepted messages.
    accepted: u64,
    /// Why no call may be made at all; empty if calls may be made.
    halted: String,
    /// Commands that wait for a permit by themselves, and whose turn it is.
    turns: Turns,
    was_loops_turn: bool,
}

/// The gate of one lane. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Throttle(Arc<Mutex<State>>);

/// Permit for one call. Dropping it without [`Permit::record`] reports nothing about the account.
#[derive(Debug)]
pub(crate) struct Permit {
    gate: Throttle,
    is_probe: bool,
    is_said: bool,
    given_at: Instant,
}

impl Throttle {
    /// Creates a gate for this number of calls a second. It starts without accumulated permits, because another replica
    /// may have sent a moment ago.
    pub(crate) fn new(calls_per_second: u32, now: Instant) -> Self {
        Self(Arc::new(Mutex::new(State {
            interval: Duration::from_secs(1) / calls_per_second.max(1),
            next_at: now,
            limited_until: None,
            limit_pause: PAUSE_FIRST,
            failures: 0,
            pause: PAUSE_FIRST,
            broken: None,
            is_probing: false,
            accepted: 0,
            halted: String::new(),
            turns: Turns::default(),
            was_loops_turn: false,
        })))
    }

    /// Allows no calls from now on, for this reason. An empty reason opens the gate again. Returns whether the reason
    /// has changed.
    pub(crate) fn halt(&self, why: &str) -> bool {
        let mut state = self.state();
        if state.halted == why {
            return false;
        }
        why.clone_into(&mut state.halted);
        true
    }

    /// Changes the rate.
    pub(crate) fn set_rate(&self, calls_per_second: u32) {
        self.state().interval = Duration::from_secs(1) / calls_per_second.max(1);
    }

    /// Returns a permit for one call of the lane's loop, or why it is not available.
    pub(crate) fn try_acquire(&self, now: Instant) -> Result<Permit, Denied> {
        self.try_acquire_as(Who::Loop, now)
    }

    fn try_acquire_as(&self, who: Who, now: Instant) -> Result<Permit, Denied> {
        let mut state = self.state();
        if !state.halted.is_empty() {
            return Err(Denied::Halted);
        }
        if let Some(until) = state.limited_until.filter(|until| *until > now) {
            return Err(Denied::Limited(until));
        }
        let broken_until = state.broken.as_ref().map(|broken| broken.until);
        if let Some(until) = broken_until {
            state.turns.wants(who);
            if state.is_probing {
                return Err(Denied::Probing);
            }
            if until > now {
                return Err(Denied::Broken(until));
            }
            if !state.turns.is_next(who) {
                return Err(Denied::Probing);
            }
        }
        let next_at = state.next_at.max(now.checked_sub(BURST).unwrap_or(now));
        if next_at > now {
            return Err(Denied::Rate(next_at));
        }
        state.next_at = next_at + state.interval;
        let is_probe = broken_until.is_some();
        if is_probe {
            state.is_probing = true;
            state.turns.taken(who);
        }
        Ok(Permit { gate: self.clone(), is_probe, is_said: false, given_at: now })
    }

    /// Records that the loop of the lane has no command that needs a permit now.
    pub(crate) fn new_commands_wait(&self) {
        self.state().turns.loop_rests();
    }

    /// Puts a command into the line until the returned value is dropped.
    pub(crate) fn wait_for_turn(&self, place: Place) -> WaitingPlace {
        self.state().turns.enter(place);
        WaitingPlace { gate: self.clone(), place }
    }

    /// Whether the lane needs commands now. A failing account needs some too, as probes.
    pub(crate) fn may_fetch(&self, now: Instant) -> bool {
        let state = self.state();
        let is_limited = state.limited_until.is_some_and(|until| until > now);
        state.halted.is_empty() && !is_limited
    }

    /// Whether the account fails, so that only probes are made.
    pub(crate) fn is_broken(&self) -> bool {
        self.state().broken.is_some()
    }

    /// Number of messages that the account has accepted through this gate.
    pub(crate) fn accepted(&self) -> u64 {
        self.state().accepted
    }

    /// Whether the loop of the lane may take the next permit. Every second permit is for commands that wait by
    /// themselves. Probes take turns separately.
    pub(crate) fn is_new_commands_turn(&self) -> bool {
        let mut state = self.state();
        state.was_loops_turn = state.broken.is_some() || state.turns.waiters() == 0 || !state.was_loops_turn;
        state.was_loops_turn
    }

    /// Returns why nothing is sent, or `None` while calls are made.
    pub(crate) fn reason(&self, now: Instant) -> Option<Reason> {
        let state = self.state();
        if !state.halted.is_empty() {
            return Some(Reason { why: state.halted.clone(), next_try: None });
        }
        let limited_until = state.limited_until.filter(|until| *until > now);
        let Some(broken) = &state.broken else {
            let left = limited_until?.saturating_duration_since(now);
            return Some(Reason { why: "the BSP limits the rate".to_owned(), next_try: Some(left) });
        };
        let until = limited_until.map_or(broken.until, |limited| limited.max(broken.until));
        let next_try = Some(until.saturating_duration_since(now));
        Some(Reason { why: format!("the account fails ({})", broken.why), next_try })
    }

    fn record_outcome(&self, health: CallOutcome, is_probe: bool, now: Instant) -> Option<BreakerChange> {
        let mut state = self.state();
        if is_probe {
            state.is_probing = false;
        }
        match health {
            CallOutcome::Neutral => None,
            CallOutcome::Answered => state.open(),
            CallOutcome::Accepted => {
                state.accepted += 1;
                state.limit_pause = PAUSE_FIRST;
                state.open()
            }
            CallOutcome::Failed(why) => {
                state.failures = state.failures.saturating_add(1);
                // Calls that were in flight when the breaker opened do not change it.
                let is_news = is_probe || (state.failures >= FAILURES_MAX && state.broken.is_none());
                is_news.then(|| state.pause(why.to_owned(), now))
            }
            CallOutcome::Refused(refusal) => {
                if let Some(after) = refusal.after.filter(|_| is_probe || !refusal.is_alone) {
                    state.limit(now + after);
                }
                let is_news = is_probe || (state.broken.is_none() && !refusal.is_alone);
                is_news.then(|| state.pause(refusal.why, now))
            }
            CallOutcome::RateLimited { after: Some(after), .. } => {
                state.limit(now + after);
                None
            }
            CallOutcome::RateLimited { after: None, is_alone } => {
                // Of several limited calls that were in flight together, one counts.
                if !is_alone && state.limited_until.is_none_or(|until| until <= now) {
                    let pause = state.limit_pause;
                    state.limit(now + pause);
                    state.limit_pause = (pause * 2).min(PAUSE_MAX);
                }
                None
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Delays all calls until then, regardless of other responses.
    fn limit(&mut self, until: Instant) {
        self.limited_until = Some(self.limited_until.map_or(until, |known| known.max(until)));
    }

    fn pause(&mut self, why: String, now: Instant) -> BreakerChange {
        let pause = self.pause;
        self.broken = Some(Broken { until: now + pause, why });
        self.pause = (pause * 2).min(PAUSE_MAX);
        BreakerChange::Paused(pause)
    }

    fn open(&mut self) -> Option<BreakerChange> {
        self.failures = 0;
        self.pause = PAUSE_FIRST;
        self.broken.take().map(|_| BreakerChange::Opened)
    }
}

/// A position in the line of commands that wait for a permit by themselves.
#[derive(Debug)]
pub(crate) struct WaitingPlace {
    gate: Throttle,
    place: Place,
}

impl WaitingPlace {
    /// Returns a permit for one call, or why it is not available.
    pub(crate) fn try_acquire(&self, now: Instant) -> Result<Permit, Denied> {
        self.gate.try_acquire_as(Who::Waiter(self.place), now)
    }

    /// Returns a jitter to add to the time at which a call may be made, so that commands do not compete for one permit.
    pub(crate) fn jitter(&self) -> Duration {
        let state = self.gate.state();
        let longest = (state.interval * state.turns.waiters()).min(JITTER_MAX);
        longest.mul_f64(fastrand::f64())
    }
}

impl Drop for WaitingPlace {
    fn drop(&mut self) {
        self.gate.state().turns.leave(self.place);
    }
}

impl Permit {
    /// Whether the permit is still valid. Many old permits would cause a burst of calls.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.given_at) < PERMIT_TTL
    }

    /// Reports what the call showed about the account.
    pub(crate) fn record(mut self, health: CallOutcome, now: Instant) -> Option<BreakerChange> {
        self.is_said = true;
        self.gate.record_outcome(health, self.is_probe, now)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if !self.is_said {
            self.gate.record_outcome(CallOutcome::Neutral, self.is_probe, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
