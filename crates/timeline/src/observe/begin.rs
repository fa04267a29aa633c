//! Where reading a stream begins: after the stored position, or, for a new store and a stream that is another one, at its beginning.

use bus::read::{ReadMessage, StreamState};
use jiff::Timestamp;

use crate::observe::Observer;
use crate::row::StreamNumber;
use crate::store::{Batch, Position, StoreError};

/// The position after which a stream is read.
///
/// # Errors
/// Of the store.
pub(super) async fn begin(
    observer: &Observer,
    stream: StreamNumber,
    state: StreamState,
) -> Result<Position, StoreError> {
    let positions = observer.store.positions().await?;
    let Some(stored) = positions.into_iter().find(|position| position.stream == stream) else {
        let first = Position {
            stream,
            created_at: state.created_at,
            reading: 0,
            missed_after: state.last_sequence,
            sequence: 0,
            stored_at: Timestamp::now(),
        };
        return store(observer, first).await;
    };
    if stored.created_at == state.created_at && stored.sequence <= state.last_sequence {
        return Ok(stored);
    }
    read_again(observer, &stored, state).await
}

/// Begins to read a stream from its beginning that was created again, or was restored from an older copy.
///
/// # Errors
/// Of the store.
pub(super) async fn read_again(
    observer: &Observer,
    stored: &Position,
    state: StreamState,
) -> Result<Position, StoreError> {
    tracing::warn!(
        function = "timeline",
        "{} was created again or has gone back (stored position {}, last sequence {}); reading it from its beginning",
        stored.stream.name(),
        stored.sequence,
        state.last_sequence
    );
    // An older copy has messages that were read before. What it lacks of them is not missed.
    let missed_after = if state.created_at > stored.created_at { 0 } else { state.last_sequence };
    let again = Position {
        stream: stored.stream,
        created_at: state.created_at,
        reading: stored.reading.saturating_add(1),
        missed_after,
        sequence: 0,
        stored_at: Timestamp::now(),
    };
    store(observer, again).await
}

/// Stores a position before the first message: what the stream loses from now on is missed, also if this process ends before it
/// stores a row.
async fn store(observer: &Observer, position: Position) -> Result<Position, StoreError> {
    observer.store.append(Batch { rows: Vec::new(), position, gaps: Vec::new() }).await?;
    Ok(position)
}

/// What the first message is of a stream that is read from its last known message on.
pub(super) enum Overlap {
    /// The last known message.
    Same,
    /// Another message with its sequence: the stream has gone back, and has stored others since.
    Other,
    /// One after it.
    After,
}

impl Overlap {
    pub(super) fn of(first: &ReadMessage, position: &Position) -> Self {
        if first.delivery.sequence != position.sequence {
            return Self::After;
        }
        if first.delivery.stored_at == position.stored_at { Self::Same } else { Self::Other }
    }
}
