//! When a lane may call its BSP: at its channel's rate, not before the BSP wants to be asked again, and not while the
//! account is down. Pure but for the lock around it; time comes in as an argument.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// After so many calls in a row that the account failed, the lane stops calling.
const FAILURES_MAX: u32 = 5;
/// The first pause of a broken account, and the longest.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest that anybody in line waits beyond the moment at which a call may be made.
const SPREAD_MAX: Duration = Duration::from_secs(1);
/// A leave that is not used for so long is used no more.
const PASS_LIFE: Duration = Duration::from_millis(200);
/// What a lane that was idle may catch up with at once.
const BURST: Duration = Duration::from_millis(50);

/// What a call says about its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// It answers.
    Good,
    /// It does not answer, fails, or refuses whatever it is asked.
    Bad(&'static str),
    /// The call says nothing about it.
    Unsaid,
}

/// Why no call may be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shut {
    /// The rate is used up.
    Rate(Instant),
    /// The BSP wants to be left alone until then.
    Limited(Instant),
    /// The account fails; it is tried again then.
    Broken(Instant, &'static str),
    /// One call tries whether the account works again.
    Probing(&'static str),
    /// The channel is paused, or something that every call needs is missing.
    Halted,
}

#[derive(Debug)]
struct State {
    interval: Duration,
    /// When the next call would be made at an even rate.
    next_at: Instant,
    limited_until: Option<Instant>,
    failures: u32,
    last_failure: &'static str,
    pause: Duration,
    broken_until: Option<Instant>,
    is_probing: bool,
    /// Why no call may be made at all; empty when calls may.
    halted: String,
    /// Commands that wait for leave by themselves.
    waiters: u32,
    was_loops_turn: bool,
}

/// The gate of one lane. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Mutex<State>>);

/// Leave to make one call. Whoever drops it unsaid has said nothing about the account.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Gate,
    is_probe: bool,
    is_said: bool,
    given_at: Instant,
}

impl Gate {
    /// A gate for so many calls a second. It begins without anything to catch up with, since another replica may have sent
    /// a moment ago.
    pub(crate) fn new(calls_per_second: u32, now: Instant) -> Self {
        Self(Arc::new(Mutex::new(State {
            interval: Duration::from_secs(1) / calls_per_second.max(1),
            next_at: now,
            limited_until: None,
            failures: 0,
            last_failure: "",
            pause: PAUSE_FIRST,
            broken_until: None,
            is_probing: false,
            halted: String::new(),
            waiters: 0,
            was_loops_turn: false,
        })))
    }

    /// No call may be made from now on, for this reason; an empty one opens the gate again.
    pub(crate) fn halt(&self, why: &str) {
        why.clone_into(&mut self.state().halted);
    }

    /// Another rate from now on.
    pub(crate) fn set_rate(&self, calls_per_second: u32) {
        self.state().interval = Duration::from_secs(1) / calls_per_second.max(1);
    }

    /// Leave for one call, or why there is none.
    pub(crate) fn pass(&self, now: Instant) -> Result<Pass, Shut> {
        let mut state = self.state();
        if !state.halted.is_empty() {
            return Err(Shut::Halted);
        }
        if let Some(until) = state.limited_until.filter(|until| *until > now) {
            return Err(Shut::Limited(until));
        }
        let mut is_probe = false;
        if let Some(until) = state.broken_until {
            if state.is_probing {
                return Err(Shut::Probing(state.last_failure));
            }
            if until > now {
                return Err(Shut::Broken(until, state.last_failure));
            }
            is_probe = true;
        }
        let next_at = state.next_at.max(now.checked_sub(BURST).unwrap_or(now));
        if next_at > now {
            return Err(Shut::Rate(next_at));
        }
        state.next_at = next_at + state.interval;
        state.is_probing |= is_probe;
        Ok(Pass { gate: self.clone(), is_probe, is_said: false, given_at: now })
    }

    /// Waits in line until this is dropped.
    pub(crate) fn wait_in_line(&self) -> InLine {
        self.state().waiters += 1;
        InLine(self.clone())
    }

    /// Whether commands are of use now. A broken account is asked for one again when it is to be tried.
    pub(crate) fn may_ask(&self, now: Instant) -> bool {
        let state = self.state();
        let is_limited = state.limited_until.is_some_and(|until| until > now);
        let is_left_alone = state.broken_until.is_some_and(|until| until > now) || state.is_probing;
        state.halted.is_empty() && !is_limited && !is_left_alone
    }

    /// Whether the loop of the lane may take a leave: those who wait by themselves have every second one.
    pub(crate) fn is_loops_turn(&self) -> bool {
        let mut state = self.state();
        state.was_loops_turn = state.waiters == 0 || !state.was_loops_turn;
        state.was_loops_turn
    }

    /// Why nothing is sent, for people; `None` while calls are made.
    pub(crate) fn reason(&self, now: Instant) -> Option<String> {
        let state = self.state();
        if !state.halted.is_empty() {
            return Some(state.halted.clone());
        }
        if let Some(until) = state.limited_until.filter(|until| *until > now) {
            return Some(format!("the BSP limits the rate for {} s more", (until - now).as_secs() + 1));
        }
        let until = state.broken_until?;
        let left = until.saturating_duration_since(now).as_secs();
        Some(format!("the account fails ({}); next try in {left} s", state.last_failure))
    }

    /// Makes all calls wait: the BSP has said that there were too many.
    pub(crate) fn limit(&self, until: Instant) {
        let mut state = self.state();
        state.limited_until = Some(state.limited_until.map_or(until, |known| known.max(until)));
    }

    fn say(&self, health: Health, is_probe: bool, now: Instant) {
        let mut state = self.state();
        if is_probe {
            state.is_probing = false;
        }
        match health {
            Health::Unsaid => {}
            Health::Good => {
                state.failures = 0;
                state.broken_until = None;
                state.pause = PAUSE_FIRST;
            }
            Health::Bad(what) => {
                state.failures = state.failures.saturating_add(1);
                state.last_failure = what;
                // Calls that were under way when it broke say nothing new.
                if is_probe || (state.failures >= FAILURES_MAX && state.broken_until.is_none()) {
                    state.broken_until = Some(now + state.pause);
                    state.pause = (state.pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those who wait for leave by themselves.
#[derive(Debug)]
pub(crate) struct InLine(Gate);

impl InLine {
    /// How long to wait beyond the moment at which a call may be made, so that not all come at once for one leave.
    pub(crate) fn spread(&self) -> Duration {
        let state = self.0.state();
        let longest = (state.interval * state.waiters).min(SPREAD_MAX);
        longest.mul_f64(fastrand::f64())
    }
}

impl Drop for InLine {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.waiters = state.waiters.saturating_sub(1);
    }
}

impl Pass {
    /// Whether it may still be used: many that were kept for long would make many calls at once.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.given_at) < PASS_LIFE
    }

    /// Says what the call told about the account.
    pub(crate) fn say(mut self, health: Health, now: Instant) {
        self.is_said = true;
        self.gate.say(health, self.is_probe, now);
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
mod tests {
    use super::*;

    const BAD: Health = Health::Bad("500");

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn calls_are_spread_evenly_and_little_is_caught_up_with() {
        let start = Instant::now();
        let gate = Gate::new(100, start);
        let passes = |now: Instant| std::iter::from_fn(|| gate.pass(now).ok()).count();
        assert_eq!(passes(start), 1);
        assert_eq!(gate.pass(start + ms(9)).unwrap_err(), Shut::Rate(start + ms(10)));
        assert_eq!(passes(start + ms(10)), 1);
        // A minute later: what 50 ms hold, and the one that is due.
        assert_eq!(passes(start + ms(60_000)), 6);
    }

    #[test]
    fn a_broken_account_is_left_alone_and_tried_by_one_call() {
        let now = Instant::now();
        let gate = Gate::new(1_000_000, now);
        let pass = |at: Instant| gate.pass(at);
        let passes: Vec<_> = (0..8).map(|number| pass(now + ms(number)).unwrap()).collect();
        let mut passes = passes.into_iter();
        for pass in passes.by_ref().take(4) {
            pass.say(BAD, now);
        }
        assert!(pass(now + ms(9)).is_ok());
        for pass in passes {
            pass.say(BAD, now);
        }
        assert_eq!(pass(now + ms(10)).unwrap_err(), Shut::Broken(now + PAUSE_FIRST, "500"));
        let later = now + PAUSE_FIRST;
        let probe = pass(later).unwrap();
        assert_eq!(pass(later).unwrap_err(), Shut::Probing("500"));
        probe.say(BAD, later);
        assert_eq!(pass(later).unwrap_err(), Shut::Broken(later + 2 * PAUSE_FIRST, "500"));
        let later = later + 2 * PAUSE_FIRST;
        // A probe that comes to nothing leaves the place to another.
        drop(pass(later).unwrap());
        pass(later).unwrap().say(Health::Good, later);
        assert!(pass(later + ms(1)).is_ok() && pass(later + ms(2)).is_ok());
    }

    #[test]
    fn a_broken_account_is_asked_for_commands_when_it_is_to_be_tried() {
        let now = Instant::now();
        let gate = Gate::new(1000, now);
        for number in 0..5 {
            gate.pass(now + ms(2 * number)).unwrap().say(BAD, now);
        }
        assert!(!gate.may_ask(now + ms(20)) && gate.reason(now + PAUSE_FIRST).is_some());
        assert!(gate.may_ask(now + PAUSE_FIRST));
    }

    #[test]
    fn a_limit_holds_all_calls() {
        let now = Instant::now();
        let gate = Gate::new(1000, now);
        gate.limit(now + ms(500));
        gate.limit(now + ms(200));
        assert_eq!(gate.pass(now + ms(400)).unwrap_err(), Shut::Limited(now + ms(500)));
        assert!(gate.reason(now).is_some());
        assert!(gate.pass(now + ms(500)).is_ok());
        assert_eq!(gate.reason(now + ms(500)), None);
    }
}
