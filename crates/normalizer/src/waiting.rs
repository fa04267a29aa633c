//! Webhooks whose events are stored and whose dead letters could not be stored. When they are redelivered,
//! only the dead letters remain to be stored. Without this, each of their events would be stored again every
//! minute, because a stream detects duplicates only within its duplicate window.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::Delivery;
use jiff::Timestamp;
use tokio::time::Instant;

/// Most webhooks that are kept: those that the worker can delay at the same time, those in flight, and a
/// margin. The events of further webhooks are stored again.
const WAITING_MAX: usize = 4_096;
/// Time after which a webhook that was not redelivered is removed: another replica has finished it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// Identifies a stored webhook. A stream that was created again, or whose sequence has gone back, assigns a
/// sequence again, to another webhook. With the sequence alone, the events of that webhook would never be
/// stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    sequence: u64,
    stored_at: Timestamp,
}

impl Key {
    pub(crate) fn of(delivery: &Delivery) -> Self {
        Self { sequence: delivery.sequence, stored_at: delivery.stored_at }
    }
}

/// The webhooks, with the time when each was last nacked.
#[derive(Debug, Default)]
pub(crate) struct WaitingForOutput(Mutex<HashMap<Key, Instant>>);

impl WaitingForOutput {
    /// Whether the events of a webhook are stored.
    pub(crate) fn has(&self, key: Key) -> bool {
        let all = self.lock();
        // In most cases the map is empty.
        !all.is_empty() && all.contains_key(&key)
    }

    /// Adds a webhook that is nacked.
    pub(crate) fn add(&self, key: Key, now: Instant) {
        let mut all = self.lock();
        if all.len() >= WAITING_MAX {
            all.retain(|_, since| now - *since < FORGOTTEN_AFTER);
        }
        if all.len() < WAITING_MAX || all.contains_key(&key) {
            all.insert(key, now);
        }
    }

    /// Removes a finished webhook.
    pub(crate) fn remove(&self, key: Key) {
        self.lock().remove(&key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(sequence: u64) -> Key {
        Key { sequence, stored_at: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn it_keeps_a_limited_number_and_removes_the_oldest() {
        let (waiting, now) = (WaitingForOutput::default(), Instant::now());
        let last = key(WAITING_MAX as u64);
        for sequence in 0..=last.sequence {
            waiting.add(key(sequence), now);
        }
        assert!(waiting.has(key(0)) && !waiting.has(last));
        waiting.remove(key(0));
        assert!(!waiting.has(key(0)));
        waiting.add(key(0), now);
        waiting.add(last, now + FORGOTTEN_AFTER);
        assert!(waiting.has(last) && !waiting.has(key(1)));
    }

    #[test]
    fn another_webhook_under_the_same_sequence_is_a_different_one() {
        let waiting = WaitingForOutput::default();
        waiting.add(key(7), Instant::now());
        assert!(!waiting.has(Key { stored_at: Timestamp::MAX, ..key(7) }));
    }
}
