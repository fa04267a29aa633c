//! The conditions that a service needs before it accepts work. They are checked at every probe.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The conditions of a process. Clones share them.
///
/// # Examples
/// ```
/// use service::Readiness;
///
/// let readiness = Readiness::default();
/// readiness.require("nats", || Err("not connected".to_owned()));
/// readiness.mark_started();
/// assert!(!readiness.is_ready());
/// ```
#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<Conditions>>);

type Ask = Box<dyn Fn() -> bool + Send + Sync>;

#[derive(Default)]
struct Conditions {
    all: Vec<Condition>,
    /// Whether the spool can do without the conditions of the bus now; `None` in a process without a spool.
    can_spool: Option<Ask>,
    is_complete: bool,
}

struct Condition {
    name: &'static str,
    ask: Check,
    /// Whether the spool may replace this condition now; `None` if it never does.
    can_be_replaced: Option<Ask>,
    /// Whether the process accepts no work without it.
    is_required: bool,
}

/// What a probe finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadinessReport {
    /// Whether the process accepts work.
    pub is_ready: bool,
    /// Whether a condition does not hold and the spool replaces it; `None` in a process without a spool.
    pub is_spooling: Option<bool>,
    /// Every condition: `Ok`, or a text for people that says what is missing, also where the spool replaces it.
    pub conditions: Vec<(&'static str, Result<(), String>)>,
}

impl Readiness {
    /// Adds a condition. `ask` returns `Ok`, or a text for people that says what is missing.
    pub fn require(&self, name: &'static str, ask: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        let ask = Box::new(ask);
        self.lock().all.push(Condition { name, ask, can_be_replaced: None, is_required: true });
    }

    /// Adds a condition that probes show, and without which the process is ready anyway: it works with less.
    pub fn mention(&self, name: &'static str, ask: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        let ask = Box::new(ask);
        self.lock().all.push(Condition { name, ask, can_be_replaced: None, is_required: false });
    }

    /// Adds a condition that the spool replaces while it [can](Self::spool_if) and `can_be_replaced` returns true.
    pub fn require_or_spool(
        &self,
        name: &'static str,
        ask: impl Fn() -> Result<(), String> + Send + Sync + 'static,
        can_be_replaced: impl Fn() -> bool + Send + Sync + 'static,
    ) {
        let can_be_replaced: Ask = Box::new(can_be_replaced);
        let (ask, can_be_replaced) = (Box::new(ask), Some(can_be_replaced));
        self.lock().all.push(Condition { name, ask, can_be_replaced, is_required: true });
    }

    /// Makes the process ready without the conditions of [`require_or_spool`](Self::require_or_spool) while `can_spool`
    /// returns true.
    pub fn spool_if(&self, can_spool: impl Fn() -> bool + Send + Sync + 'static) {
        self.lock().can_spool = Some(Box::new(can_spool));
    }

    /// Marks the conditions as complete. Until then the process is starting, and not ready.
    pub fn mark_started(&self) {
        self.lock().is_complete = true;
    }

    /// Checks every condition.
    pub fn report(&self) -> ReadinessReport {
        let conditions = self.lock();
        let can_spool = conditions.can_spool.as_ref().map(|ask| ask());
        let (mut is_ready, mut is_spooling) = (conditions.is_complete, false);
        let started = if conditions.is_complete { Ok(()) } else { Err("starting".to_owned()) };
        let mut answers = vec![("started", started)];
        for condition in &conditions.all {
            let answer = (condition.ask)();
            if answer.is_err() && condition.is_required {
                let is_replaced =
                    can_spool == Some(true) && condition.can_be_replaced.as_ref().is_some_and(|ask| ask());
                is_spooling |= is_replaced;
                is_ready &= is_replaced;
            }
            answers.push((condition.name, answer));
        }
        ReadinessReport { is_ready, is_spooling: can_spool.map(|_| is_spooling), conditions: answers }
    }

    /// The state of every condition.
    pub fn check(&self) -> Vec<(&'static str, Result<(), String>)> {
        self.report().conditions
    }

    /// Whether every condition holds, or is replaced by the spool.
    pub fn is_ready(&self) -> bool {
        self.report().is_ready
    }

    fn lock(&self) -> MutexGuard<'_, Conditions> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.check().iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_all_conditions_are_known_and_hold() {
        let readiness = Readiness::default();
        assert!(!readiness.is_ready());
        let flag = Arc::new(Mutex::new(false));
        let asked = Arc::clone(&flag);
        readiness
            .require("flag", move || if *asked.lock().unwrap() { Ok(()) } else { Err("down".to_owned()) });
        readiness.mark_started();
        assert_eq!(readiness.check()[1], ("flag", Err("down".to_owned())));
        *flag.lock().unwrap() = true;
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_condition_that_is_only_mentioned_is_shown_and_stops_nothing() {
        let readiness = Readiness::default();
        readiness.mention("store", || Err("a day cannot be read".to_owned()));
        readiness.mark_started();
        assert!(readiness.is_ready());
        assert_eq!(readiness.check()[1], ("store", Err("a day cannot be read".to_owned())));
        readiness.require("nats", || Err("not connected".to_owned()));
        assert!(!readiness.is_ready());
    }

    #[test]
    fn a_spool_replaces_only_the_conditions_that_say_so_while_it_can() {
        let readiness = Readiness::default();
        let down = || Err("not connected".to_owned());
        let [room, unknown] = [true, true].map(|value| Arc::new(Mutex::new(value)));
        let (asked_room, asked_unknown) = (Arc::clone(&room), Arc::clone(&unknown));
        readiness.require("channels", || Ok(()));
        readiness.require_or_spool("nats", down, || true);
        readiness.require_or_spool("streams", down, move || *asked_unknown.lock().unwrap());
        assert_eq!(readiness.report().is_spooling, None, "it has no spool");
        readiness.spool_if(move || *asked_room.lock().unwrap());
        assert!(!readiness.is_ready(), "it is starting");
        readiness.mark_started();
        let report = readiness.report();
        assert!(report.is_ready && report.is_spooling == Some(true), "{report:?}");
        assert_eq!(report.conditions[2], ("nats", down()), "it says what is missing");
        *unknown.lock().unwrap() = false;
        assert!(!readiness.is_ready(), "the streams are known to be wrong");
        *unknown.lock().unwrap() = true;
        *room.lock().unwrap() = false;
        let report = readiness.report();
        assert!(!report.is_ready && report.is_spooling == Some(false), "{report:?}");
        *room.lock().unwrap() = true;
        readiness.require("not stopping", || Err("stopping".to_owned()));
        assert!(!readiness.is_ready());
    }
}
