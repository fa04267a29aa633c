//! What a store does besides that several processes use at once: it says which of them reads a stream, tells the others how far
//! that one has come, and says which of them erases.

use crate::progress::StreamProgress;
use crate::row::{Row, StreamNumber};
use crate::store::{Answer, Lease};

/// A store that several processes use at once.
pub trait SharedStore: Send + Sync {
    /// The right to read a stream; `None` while a process has it, this one or another.
    fn lease(&self, stream: StreamNumber) -> Answer<'_, Option<Lease>>;

    /// The right to erase a customer; `None` while a process has it, this one or another.
    fn erasing(&self) -> Answer<'_, Option<Lease>>;

    /// Stores how far a stream is read, for the processes that do not read it. `read_until` never goes back.
    fn publish(&self, progress: StreamProgress) -> Answer<'_, ()>;

    /// How far a stream is read, as the process that reads it stored last; `None` if none did yet.
    fn published(&self, stream: StreamNumber) -> Answer<'_, Option<StreamProgress>>;

    /// The youngest rows of a stream after a sequence, in its order, at most `limit`. Those of one message are not divided.
    fn rows_after(&self, stream: StreamNumber, sequence: u64, limit: usize) -> Answer<'_, Vec<Row>>;

    /// Whether it answered when it was used last.
    ///
    /// # Errors
    /// What is wrong, for people.
    fn condition(&self) -> Result<(), String>;
}
