//! What a service needs before it takes work, asked whenever somebody probes.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

type Ask = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The conditions of a process. Clones share them.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Mutex<Vec<(&'static str, Ask)>>>);

impl Readiness {
    /// Adds a condition: `Ok`, or what is missing in words.
    pub fn require(&self, name: &'static str, ask: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name, Box::new(ask)));
    }

    /// Asks every condition.
    pub fn ask(&self) -> Vec<(&'static str, Result<(), String>)> {
        let conditions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.iter().map(|(name, ask)| (*name, ask())).collect()
    }

    /// Whether every condition holds.
    pub fn is_ready(&self) -> bool {
        self.ask().iter().all(|(_, state)| state.is_ok())
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.ask().iter().map(|(name, _)| name))
            .finish()
    }
}
