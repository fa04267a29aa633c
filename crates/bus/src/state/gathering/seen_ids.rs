//! Ids of messages that were written lately, in a table of fixed size that takes no lock. It forgets: an id that it has forgotten costs a
//! refused batch, and one that it keeps for too long costs a message that goes alone.

use std::sync::atomic::{AtomicU64, Ordering};

/// Number of ids, a power of two: 512 KiB.
const SLOTS: usize = 1 << 16;

/// Hashes of ids, each at the place that its lowest bits name.
#[derive(Debug)]
pub(crate) struct SeenIds(Box<[AtomicU64]>);

impl Default for SeenIds {
    fn default() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl SeenIds {
    pub(crate) fn insert(&self, id: u64) {
        self.slot(id).store(id, Ordering::Relaxed);
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.slot(id).load(Ordering::Relaxed) == id
    }

    fn slot(&self, id: u64) -> &AtomicU64 {
        &self.0[id as usize & (SLOTS - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_known_until_another_takes_its_place() {
        let seen = SeenIds::default();
        assert!(!seen.contains(7));
        seen.insert(7);
        assert!(seen.contains(7) && !seen.contains(7 + SLOTS as u64));
        seen.insert(7 + SLOTS as u64);
        assert!(!seen.contains(7) && seen.contains(7 + SLOTS as u64));
    }
}
