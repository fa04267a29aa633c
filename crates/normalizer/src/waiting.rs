//! Webhooks whose events are stored and whose dead letters could not be: when they come again, only the letters are left to do.
//! Without this each of their events would be stored again every minute, because a stream recognizes a repeat only for its
//! duplicate window.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Webhooks that are remembered: those that the worker puts off at once, those that it holds, and a margin. Of one beyond it
/// the events are stored once more.
const WAITING_MAX: usize = 4_096;
/// One that has not come back after so long was finished by another replica.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// The webhooks, by their sequences, and when they were last given back.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<HashMap<u64, Instant>>);

impl Waiting {
    /// Whether the events of a webhook are stored.
    pub(crate) fn has(&self, sequence: u64) -> bool {
        let all = self.lock();
        // Most often there is none.
        !all.is_empty() && all.contains_key(&sequence)
    }

    /// Remembers a webhook that is given back.
    pub(crate) fn add(&self, sequence: u64, now: Instant) {
        let mut all = self.lock();
        if all.len() >= WAITING_MAX {
            all.retain(|_, since| now - *since < FORGOTTEN_AFTER);
        }
        if all.len() < WAITING_MAX || all.contains_key(&sequence) {
            all.insert(sequence, now);
        }
    }

    /// Forgets one that is finished.
    pub(crate) fn remove(&self, sequence: u64) {
        self.lock().remove(&sequence);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_remembers_a_limited_number_and_forgets_the_old() {
        let (waiting, now) = (Waiting::default(), Instant::now());
        let last = WAITING_MAX as u64;
        for sequence in 0..=last {
            waiting.add(sequence, now);
        }
        assert!(waiting.has(0) && !waiting.has(last));
        waiting.remove(0);
        assert!(!waiting.has(0));
        waiting.add(0, now);
        waiting.add(last, now + FORGOTTEN_AFTER);
        assert!(waiting.has(last) && !waiting.has(1));
    }
}
