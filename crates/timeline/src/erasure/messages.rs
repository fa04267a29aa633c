//! Overwrites stored messages. A message is overwritten only if it is the one behind the row: a stream that was created again counts
//! from 1, so that another message may have its sequence.

use bus::erasure::{self, ErasureError, Overwritten};
use bus::message_store::{self, MessageStoreError};
use bus::streams::{COMMANDS, DEADLETTERS, EVENTS, StreamDefinition, WEBHOOKS};
use jiff::{SignedDuration, Timestamp};

use crate::erasure::Tools;
use crate::erasure::found::StoredMessage;
use crate::row::StreamNumber;

/// Longest time for which WEBHOOKS keeps a message: what is older than a request by more than this and has no row is another message.
const WEBHOOKS_KEPT: SignedDuration = SignedDuration::from_hours(73);

/// A message was not overwritten.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] MessageStoreError),
    /// It cannot be overwritten.
    #[error(transparent)]
    Overwrite(#[from] ErasureError),
}

/// The definition of a stream.
pub(super) fn definition(stream: StreamNumber) -> &'static StreamDefinition {
    match stream {
        StreamNumber::Webhooks => &WEBHOOKS,
        StreamNumber::Events => &EVENTS,
        StreamNumber::Commands => &COMMANDS,
        StreamNumber::DeadLetters => &DEADLETTERS,
    }
}

/// Whether the stream still holds a message. Rows of a webhook are at most as old as `requested_at` allows.
pub(super) async fn is_stored(
    tools: &Tools,
    message: &StoredMessage,
    requested_at: Timestamp,
) -> Result<bool, MessageError> {
    let stream = definition(message.stream);
    let Some(found) = message_store::get(&tools.reader, stream, message.sequence).await? else {
        return Ok(false);
    };
    Ok(match message.stored_at {
        // The store may keep times in microseconds.
        Some(stored_at) => found.stored_at.as_microsecond() == stored_at.as_microsecond(),
        None => requested_at.duration_since(found.stored_at) <= WEBHOOKS_KEPT,
    })
}

/// Overwrites a message that [`is_stored`].
pub(super) async fn overwrite(tools: &Tools, message: &StoredMessage) -> Result<Overwritten, MessageError> {
    Ok(erasure::overwrite(&tools.eraser, definition(message.stream), message.sequence).await?)
}
