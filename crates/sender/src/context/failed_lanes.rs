//! Lanes that this replica owns and cannot read, for the readiness of the process.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bsp::ChannelId;

/// Lanes that cannot be read because their consumers are missing, for the readiness of the process. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct FailedLanes(Arc<Mutex<BTreeSet<ChannelId>>>);

impl FailedLanes {
    /// Adds a lane that cannot be read.
    pub(crate) fn add(&self, channel: &ChannelId) {
        self.lock().insert(channel.clone());
    }

    /// Removes a lane that can be read.
    pub(crate) fn remove(&self, channel: &ChannelId) {
        self.lock().remove(channel);
    }

    /// Removes all lanes that this replica does not own.
    pub(crate) fn keep_only(&self, is_owned: impl Fn(&ChannelId) -> bool) {
        self.lock().retain(|channel| is_owned(channel));
    }

    /// Returns `Ok` if all lanes can be read, or the names of the others.
    pub(crate) fn state(&self) -> Result<(), String> {
        let all = self.lock();
        let names: Vec<&str> = all.iter().map(ChannelId::as_str).collect();
        if names.is_empty() { Ok(()) } else { Err(format!("durables are missing: {}", names.join(", "))) }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<ChannelId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
