//! Which commands are not to be sent any more, because their customer is being erased.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::result::outcome::Outcome;

/// Time for which a command counts as erased after a request named it. The eraser asks every second while a command waits. If it is
/// stopped, the commands are sent as if it had not asked; and a stream that was created again, whose sequences begin from 1, has no
/// erased commands.
const ERASED_FOR: Duration = Duration::from_secs(30);
/// Most commands. More are answered when others were.
const ERASED_MAX: usize = 100_000;

/// Error code of a command whose customer was erased before it was sent.
const CUSTOMER_ERASED: &str = "CUSTOMER_ERASED";

/// Sequences of commands in COMMANDS that are answered and not sent, unless a call was begun for them.
#[derive(Debug, Default)]
pub(crate) struct ErasedCommands(Mutex<HashMap<u64, Instant>>);

impl ErasedCommands {
    pub(crate) fn add(&self, sequence: u64, now: Instant) {
        let mut all = self.lock();
        if all.len() >= ERASED_MAX {
            all.retain(|_, at| now.saturating_duration_since(*at) < ERASED_FOR);
        }
        if all.len() < ERASED_MAX {
            all.insert(sequence, now);
        }
    }

    pub(crate) fn has(&self, sequence: u64, now: Instant) -> bool {
        self.lock().get(&sequence).is_some_and(|at| now.saturating_duration_since(*at) < ERASED_FOR)
    }

    pub(crate) fn remove(&self, sequence: u64) {
        self.lock().remove(&sequence);
    }

    /// Whether none is erased at this time. What was named too long ago is dropped.
    pub(crate) fn is_empty(&self, now: Instant) -> bool {
        let mut all = self.lock();
        all.retain(|_, at| now.saturating_duration_since(*at) < ERASED_FOR);
        all.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outcome of a command whose customer was erased before it was sent.
pub fn customer_erased() -> Outcome {
    Outcome::rejected(CUSTOMER_ERASED, "the customer was erased before the message was sent")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_erased_for_as_long_as_it_is_asked_for() {
        let (erased, now) = (ErasedCommands::default(), Instant::now());
        erased.add(7, now);
        assert!(erased.has(7, now) && !erased.has(8, now));
        assert!(!erased.has(7, now + ERASED_FOR));
        erased.add(7, now + ERASED_FOR);
        assert!(erased.has(7, now + ERASED_FOR));
        erased.remove(7);
        assert!(!erased.has(7, now) && erased.is_empty(now));
        erased.add(8, now);
        assert!(!erased.is_empty(now) && erased.is_empty(now + ERASED_FOR));
        assert!(!erased.has(8, now), "what is too old does not stay in memory");
    }
}
