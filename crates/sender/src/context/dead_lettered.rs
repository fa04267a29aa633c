//! Which commands have a dead letter already, and no result yet.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most commands that [`DeadLettered`] holds. Beyond it a dead letter may be stored twice.
const LETTERED_MAX: usize = 100_000;

/// Sequences of commands whose dead letter this process has stored and whose result it has not. While EVENTS refuses
/// messages, storing the result is retried, and the stream recognizes the id of the dead letter only within its
/// duplicate window. Without this cache DEADLETTERS would fill up with copies.
#[derive(Debug, Default)]
pub(crate) struct DeadLettered(Mutex<HashSet<u64>>);

impl DeadLettered {
    pub(crate) fn has(&self, sequence: u64) -> bool {
        self.lock().contains(&sequence)
    }

    pub(crate) fn add(&self, sequence: u64) {
        let mut all = self.lock();
        if all.len() < LETTERED_MAX {
            all.insert(sequence);
        }
    }

    pub(crate) fn remove(&self, sequence: u64) {
        self.lock().remove(&sequence);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
