//! Which commands of a lane are in a call. Everything else that the lane holds waits.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The commands of a lane, by their sequence in the stream, whose message may be on its way: from right before the call until
/// it is known that the call did nothing, or the result is stored. A look-up belongs to its call. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<HashSet<u64>>>);

/// A command is in a call until this is dropped.
#[derive(Debug)]
pub(crate) struct InCall {
    calls: Calls,
    sequence: u64,
}

impl Calls {
    /// The command of this sequence is in a call now.
    pub(crate) fn begin(&self, sequence: u64) -> InCall {
        self.lock().insert(sequence);
        InCall { calls: self.clone(), sequence }
    }

    /// The commands that are in a call at this moment.
    pub(crate) fn sequences(&self) -> HashSet<u64> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InCall {
    fn drop(&mut self) {
        self.calls.lock().remove(&self.sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_in_a_call_until_the_guard_is_dropped() {
        let calls = Calls::default();
        let (first, second) = (calls.begin(7), calls.begin(8));
        assert_eq!(calls.sequences(), HashSet::from([7, 8]));
        drop(first);
        assert_eq!(calls.sequences(), HashSet::from([8]));
        drop(second);
        assert!(calls.sequences().is_empty());
    }
}
