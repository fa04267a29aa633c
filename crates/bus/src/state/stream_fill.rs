//! Which streams are full, as far as this process knows. Every publish reads it.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::schema::stream_id::StreamId;

/// Which streams are full, in the order of [`StreamId::ALL`]. [`crate::fill`] keeps it current.
#[derive(Debug, Default)]
pub(crate) struct StreamFill([AtomicBool; StreamId::ALL.len()]);

impl StreamFill {
    /// Sets whether a stream is full. Publishes to a full stream wait, or fail as if the server had refused them.
    pub(crate) fn set(&self, stream: StreamId, is_full: bool) {
        self.0[stream as usize].store(is_full, Ordering::Relaxed);
    }

    pub(crate) fn is_full(&self, stream: StreamId) -> bool {
        self.0[stream as usize].load(Ordering::Relaxed)
    }
}
