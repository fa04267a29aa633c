//! The conditions that a service needs before it accepts work. They are checked at every probe.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

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

#[derive(Default)]
struct Conditions {
    all: Vec<(&'static str, Check)>,
    is_complete: bool,
}

impl Readiness {
    /// Adds a condition. `ask` returns `Ok`, or a text for people that says what is missing.
    pub fn require(&self, name: &'static str, ask: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).all.push((name, Box::new(ask)));
    }

    /// Marks the conditions as complete. Until then the process is starting, and not ready.
    pub fn mark_started(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_complete = true;
    }

    /// Checks every condition.
    pub fn check(&self) -> Vec<(&'static str, Result<(), String>)> {
        let conditions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let started = if conditions.is_complete { Ok(()) } else { Err("starting".to_owned()) };
        let answers = conditions.all.iter().map(|(name, ask)| (*name, ask()));
        std::iter::once(("started", started)).chain(answers).collect()
    }

    /// Whether every condition holds.
    pub fn is_ready(&self) -> bool {
        self.check().iter().all(|(_, state)| state.is_ok())
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
}
