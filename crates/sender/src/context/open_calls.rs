//! Which commands of a lane have a call in flight. All other commands of the lane are waiting.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Sequences of the lane's commands whose message may be on its way: from right before the call until the call is known
/// to have had no effect, or until the result is stored. This includes the look-up after the call. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenCalls(Arc<Mutex<HashSet<u64>>>);

/// Marks a command as having a call in flight until this is dropped.
#[derive(Debug)]
pub(crate) struct OpenCall {
    calls: OpenCalls,
    sequence: u64,
}

impl OpenCalls {
    /// Marks the command of this sequence.
    pub(crate) fn begin(&self, sequence: u64) -> OpenCall {
        self.lock().insert(sequence);
        OpenCall { calls: self.clone(), sequence }
    }

    /// Returns the sequences of the commands that have a call in flight now.
    pub(crate) fn sequences(&self) -> HashSet<u64> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.calls.lock().remove(&self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_in_a_call_until_the_guard_is_dropped() {
        let calls = OpenCalls::default();
        let (first, second) = (calls.begin(7), calls.begin(8));
        assert_eq!(calls.sequences(), HashSet::from([7, 8]));
        drop(first);
        assert_eq!(calls.sequences(), HashSet::from([8]));
        drop(second);
        assert!(calls.sequences().is_empty());
    }
}
