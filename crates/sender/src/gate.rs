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
const SPREAD_MAX: Duration = Duration::from_secs(1);
/// Time after which an unused permit expires, so that hoarded permits cannot cause a burst.
const PASS_LIFE: Duration = Duration::from_millis(200);
/// Time for which an idle lane accumulates permits.
const BURST: Duration = Duration::from_millis(50);

/// What a call shows about the state of its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// The account accepts messages.
    Accepts,
    /// The account responds to messages.
    Answers,
    /// The BSP does not respond, or fails. Several of these in a row pause the lane.
    Fails(&'static str),
    /// The account refuses calls regardless of their content. The lane is paused immediately.
    Refuses(Refusal),
    /// Too many calls (429). The lane is paused for the `Retry-After` of the BSP.
    Limits {
        /// `Retry-After` of the response, if there is one.
        after: Option<Duration>,
        /// See [`Refusal::is_alone`]. The lane obeys `Retry-After` in either case.
        is_alone: bool,
    },
    /// The call shows nothing about the account.
    Unsaid,
}

/// A call that had no effect, for a reason other than its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
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
pub(crate) enum Change {
    /// No call is made for this time.
    Paused(Duration),
    /// Calls are made again.
    Opened,
}

/// Why no call may be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shut {
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
pub(crate) struct Gate(Arc<Mutex<State>>);

/// Permit for one call. Dropping it without [`Pass::say`] reports nothing about the account.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Gate,
    is_probe: bool,
    is_said: bool,
    given_at: Instant,
}

impl Gate {
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
    pub(crate) fn pass(&self, now: Instant) -> Result<Pass, Shut> {
        self.pass_for(Who::Loop, now)
    }

    fn pass_for(&self, who: Who, now: Instant) -> Result<Pass, Shut> {
        let mut state = self.state();
        if !state.halted.is_empty() {
            return Err(Shut::Halted);
        }
        if let Some(until) = state.limited_until.filter(|until| *until > now) {
            return Err(Shut::Limited(until));
        }
        let broken_until = state.broken.as_ref().map(|broken| broken.until);
        if let Some(until) = broken_until {
            state.turns.wants(who);
            if state.is_probing {
                return Err(Shut::Probing);
            }
            if until > now {
                return Err(Shut::Broken(until));
            }
            if !state.turns.is_next(who) {
                return Err(Shut::Probing);
            }
        }
        let next_at = state.next_at.max(now.checked_sub(BURST).unwrap_or(now));
        if next_at > now {
            return Err(Shut::Rate(next_at));
        }
        state.next_at = next_at + state.interval;
        let is_probe = broken_until.is_some();
        if is_probe {
            state.is_probing = true;
            state.turns.taken(who);
        }
        Ok(Pass { gate: self.clone(), is_probe, is_said: false, given_at: now })
    }

    /// Records that the loop of the lane has no command that needs a permit now.
    pub(crate) fn loop_rests(&self) {
        self.state().turns.loop_rests();
    }

    /// Puts a command into the line until the returned value is dropped.
    pub(crate) fn wait_in_line(&self, place: Place) -> InLine {
        self.state().turns.enter(place);
        InLine { gate: self.clone(), place }
    }

    /// Whether the lane needs commands now. A failing account needs some too, as probes.
    pub(crate) fn may_ask(&self, now: Instant) -> bool {
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
    pub(crate) fn is_loops_turn(&self) -> bool {
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

    fn say(&self, health: Health, is_probe: bool, now: Instant) -> Option<Change> {
        let mut state = self.state();
        if is_probe {
            state.is_probing = false;
        }
        match health {
            Health::Unsaid => None,
            Health::Answers => state.open(),
            Health::Accepts => {
                state.accepted += 1;
                state.limit_pause = PAUSE_FIRST;
                state.open()
            }
            Health::Fails(why) => {
                state.failures = state.failures.saturating_add(1);
                // Calls that were in flight when the breaker opened do not change it.
                let is_news = is_probe || (state.failures >= FAILURES_MAX && state.broken.is_none());
                is_news.then(|| state.leave_alone(why.to_owned(), now))
            }
            Health::Refuses(refusal) => {
                if let Some(after) = refusal.after.filter(|_| is_probe || !refusal.is_alone) {
                    state.limit(now + after);
                }
                let is_news = is_probe || (state.broken.is_none() && !refusal.is_alone);
                is_news.then(|| state.leave_alone(refusal.why, now))
            }
            Health::Limits { after: Some(after), .. } => {
                state.limit(now + after);
                None
            }
            Health::Limits { after: None, is_alone } => {
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

    fn leave_alone(&mut self, why: String, now: Instant) -> Change {
        let pause = self.pause;
        self.broken = Some(Broken { until: now + pause, why });
        self.pause = (pause * 2).min(PAUSE_MAX);
        Change::Paused(pause)
    }

    fn open(&mut self) -> Option<Change> {
        self.failures = 0;
        self.pause = PAUSE_FIRST;
        self.broken.take().map(|_| Change::Opened)
    }
}

/// A position in the line of commands that wait for a permit by themselves.
#[derive(Debug)]
pub(crate) struct InLine {
    gate: Gate,
    place: Place,
}

impl InLine {
    /// Returns a permit for one call, or why it is not available.
    pub(crate) fn pass(&self, now: Instant) -> Result<Pass, Shut> {
        self.gate.pass_for(Who::Waiter(self.place), now)
    }

    /// Returns a jitter to add to the time at which a call may be made, so that commands do not compete for one permit.
    pub(crate) fn spread(&self) -> Duration {
        let state = self.gate.state();
        let longest = (state.interval * state.turns.waiters()).min(SPREAD_MAX);
        longest.mul_f64(fastrand::f64())
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        self.gate.state().turns.leave(self.place);
    }
}

impl Pass {
    /// Whether the permit is still valid. Many old permits would cause a burst of calls.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.given_at) < PASS_LIFE
    }

    /// Reports what the call showed about the account.
    pub(crate) fn say(mut self, health: Health, now: Instant) -> Option<Change> {
        self.is_said = true;
        self.gate.say(health, self.is_probe, now)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if !self.is_said {
            self.gate.say(Health::Unsaid, self.is_probe, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests;
