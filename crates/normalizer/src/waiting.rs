//! Webhooks whose events are stored and whose dead letters could not be: when they come again, only the letters are left to do.
//! Without this each of their events would be stored again every minute, because a stream recognizes a repeat only for its
//! duplicate window.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bus::Delivery;
use jiff::Timestamp;
use tokio::time::Instant;

/// Most webhooks that are remembered: those that the worker puts off at once, those in flight, and a margin. The events
/// of a webhook beyond it are stored once more.
const WAITING_MAX: usize = 4_096;
/// Time after which a webhook that was not redelivered is forgotten: another replica has finished it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// Names a stored webhook. A stream that was made again, or whose sequence has gone back, gives a sequence once more, to another
/// webhook: its events would never be stored if the sequence alone counted.
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

/// The webhooks, and when they were last given back.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<HashMap<Key, Instant>>);

impl Waiting {
    /// Whether the events of a webhook are stored.
    pub(crate) fn has(&self, key: Key) -> bool {
        let all = self.lock();
        // Most often there is none.
        !all.is_empty() && all.contains_key(&key)
    }

    /// Remembers a webhook that is given back.
    pub(crate) fn add(&self, key: Key, now: Instant) {
        let mut all = self.lock();
        if all.len() >= WAITING_MAX {
            all.retain(|_, since| now - *since < FORGOTTEN_AFTER);
        }
        if all.len() < WAITING_MAX || all.contains_key(&key) {
            all.insert(key, now);
        }
    }

    /// Forgets one that is finished.
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
    fn it_remembers_a_limited_number_and_forgets_the_old() {
        let (waiting, now) = (Waiting::default(), Instant::now());
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
    fn another_webhook_under_the_same_sequence_is_not_taken_for_it() {
        let waiting = Waiting::default();
        waiting.add(key(7), Instant::now());
        assert!(!waiting.has(Key { stored_at: Timestamp::MAX, ..key(7) }));
    }
}
