//! When a lane may call its BSP. Pure but for the lock around it; `now` is an argument.
//!
//! | what stops a call | where |
//! |---|---|
//! | the channel is paused, or something that every call needs is missing | [`Throttle::halt`] |
//! | the BSP said when to call again (`Retry-After`), or the rate is used up | `rate.rs` |
//! | the account fails, and it is not time for a probe | `breaker.rs` |
//! | it is another command's turn | [`turns`](mod@turns) |

mod breaker;
mod outcome;
mod permit;
mod rate;
pub(crate) mod turns;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) use crate::throttle::breaker::BreakerChange;
use crate::throttle::breaker::{Breaker, CallKind};
pub(crate) use crate::throttle::outcome::{AccountRefusal, CallOutcome};
pub(crate) use crate::throttle::permit::{Permit, WaitingPlace};
use crate::throttle::rate::RateLimiter;
use crate::throttle::turns::{Place, Requester, Turns};
use lane_state::HaltReason;

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
    pub(crate) why: HaltReason,
    /// Time until the next call, if it is known.
    pub(crate) next_try: Option<Duration>,
}

#[derive(Debug)]
struct State {
    rate: RateLimiter,
    breaker: Breaker,
    turns: Turns,
    /// Number of accepted messages.
    accepted: u64,
    /// Why no call may be made at all; `None` if calls may be made.
    halted: Option<HaltReason>,
}

/// The throttle of one lane. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Throttle(Arc<Mutex<State>>);

impl Throttle {
    /// Creates a throttle for this number of calls a second.
    pub(crate) fn new(calls_per_second: u32, now: Instant) -> Self {
        Self(Arc::new(Mutex::new(State {
            rate: RateLimiter::new(calls_per_second, now),
            breaker: Breaker::new(),
            turns: Turns::default(),
            accepted: 0,
            halted: None,
        })))
    }

    /// Allows no calls from now on, for this reason; with `None`, calls are allowed again. Returns whether the reason
    /// has changed.
    pub(crate) fn halt(&self, why: Option<&HaltReason>) -> bool {
        let mut state = self.state();
        if state.halted.as_ref() == why {
            return false;
        }
        state.halted = why.cloned();
        true
    }

    /// Changes the rate.
    pub(crate) fn set_rate(&self, calls_per_second: u32) {
        self.state().rate.set_rate(calls_per_second);
    }

    /// Returns a permit for one call of a new command, or why it is not available.
    pub(crate) fn try_acquire(&self, now: Instant) -> Result<Permit, Denied> {
        self.try_acquire_as(Requester::NewCommand, now)
    }

    fn try_acquire_as(&self, who: Requester, now: Instant) -> Result<Permit, Denied> {
        let call = self.state().admit(who, now)?;
        Ok(Permit::new(self.clone(), call, now))
    }

    /// Records that the worker of the lane has no new command that needs a permit now.
    pub(crate) fn no_new_command(&self) {
        self.state().turns.no_new_command();
    }

    /// Puts a command into the line until the returned value is dropped.
    pub(crate) fn wait_for_turn(&self, place: Place) -> WaitingPlace {
        WaitingPlace::new(self.clone(), place)
    }

    /// Whether the lane needs commands now. A failing account needs some too, as probes.
    pub(crate) fn may_fetch(&self, now: Instant) -> bool {
        let state = self.state();
        state.halted.is_none() && state.rate.limited_until(now).is_none()
    }

    /// Whether the account fails, so that only probes are made.
    pub(crate) fn is_broken(&self) -> bool {
        self.state().breaker.open().is_some()
    }

    /// Number of messages that the account has accepted through this throttle.
    pub(crate) fn accepted(&self) -> u64 {
        self.state().accepted
    }

    /// Whether the worker of the lane may ask for the next permit. Probes take turns separately.
    pub(crate) fn is_new_commands_turn(&self) -> bool {
        let mut state = self.state();
        if state.breaker.open().is_some() {
            state.turns.skip_to_new_commands();
            return true;
        }
        state.turns.is_new_commands_turn()
    }

    /// Returns why nothing is sent, or `None` while calls are made.
    pub(crate) fn reason(&self, now: Instant) -> Option<Reason> {
        let state = self.state();
        if let Some(why) = &state.halted {
            return Some(Reason { why: why.clone(), next_try: None });
        }
        let limited_until = state.rate.limited_until(now);
        let Some(open) = state.breaker.open() else {
            let left = limited_until?.saturating_duration_since(now);
            return Some(Reason { why: HaltReason::RateLimited, next_try: Some(left) });
        };
        let until = limited_until.map_or(open.until, |limited| limited.max(open.until));
        let next_try = Some(until.saturating_duration_since(now));
        Some(Reason { why: HaltReason::AccountFails { error: open.why.clone() }, next_try })
    }

    fn record(&self, call: CallKind, outcome: CallOutcome, now: Instant) -> Option<BreakerChange> {
        self.state().record(call, outcome, now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns which call this one may make now.
    fn admit(&mut self, who: Requester, now: Instant) -> Result<CallKind, Denied> {
        if self.halted.is_some() {
            return Err(Denied::Halted);
        }
        if let Some(until) = self.rate.limited_until(now) {
            return Err(Denied::Limited(until));
        }
        let Some(until) = self.breaker.open().map(|open| open.until) else {
            self.rate.take(now)?;
            return Ok(CallKind::Regular);
        };
        self.turns.wants_probe(who);
        if self.breaker.is_probing() {
            return Err(Denied::Probing);
        }
        if until > now {
            return Err(Denied::Broken(until));
        }
        if !self.turns.is_next_probe(who) {
            return Err(Denied::Probing);
        }
        self.rate.take(now)?;
        self.breaker.probe();
        self.turns.probed(who);
        Ok(CallKind::Probe)
    }

    /// Records what a call showed about the account.
    fn record(&mut self, call: CallKind, outcome: CallOutcome, now: Instant) -> Option<BreakerChange> {
        self.breaker.ended(call);
        match outcome {
            CallOutcome::Neutral => None,
            CallOutcome::Answered => self.breaker.answered(),
            CallOutcome::Accepted => {
                self.accepted += 1;
                self.rate.accepted();
                self.breaker.answered()
            }
            CallOutcome::Failed(why) => self.breaker.failed(call, why, now),
            // The account works, and this command was not the probe: it alone waits.
            CallOutcome::Refused(refusal) if refusal.is_alone && call == CallKind::Regular => None,
            CallOutcome::Refused(refusal) => {
                if let Some(after) = refusal.after {
                    self.rate.limit(now + after);
                }
                self.breaker.refused(call, refusal.why, now)
            }
            CallOutcome::RateLimited { after: Some(after), .. } => {
                self.rate.limit(now + after);
                None
            }
            CallOutcome::RateLimited { after: None, is_alone } => {
                if !is_alone {
                    self.rate.limit_for_unknown_time(now);
                }
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
