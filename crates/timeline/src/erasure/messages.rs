//! Overwrites stored messages. A message is overwritten only if it is the one behind the row: a stream that was created again counts
//! from 1, so that another message may have its sequence.

use bus::erasure::{self, ErasureError, Overwritten};
use bus::message_store::{self, MessageStoreError};
use bus::streams::{COMMANDS, DEADLETTERS, EVENTS, StreamDefinition, WEBHOOKS};
use jiff::{SignedDuration, Timestamp};

use crate::erasure::Tools;
use crate::erasure::found::{StoredAt, StoredMessage};
use crate::life::source::SERVERS_DIFFERENCE;
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
    Ok(is_the_same(found.stored_at, message.stored_at, requested_at))
}

/// Whether the message that was found is the one that is meant, by its time.
fn is_the_same(found_at: Timestamp, meant: StoredAt, requested_at: Timestamp) -> bool {
    match meant {
        // The store may keep times in microseconds.
        StoredAt::At(stored_at) => found_at.as_microsecond() == stored_at.as_microsecond(),
        StoredAt::Before(made_at) => {
            requested_at.duration_since(found_at) <= WEBHOOKS_KEPT
                && found_at.duration_since(made_at) <= SERVERS_DIFFERENCE
        }
    }
}

/// Overwrites a message that [`is_stored`].
pub(super) async fn overwrite(tools: &Tools, message: &StoredMessage) -> Result<Overwritten, MessageError> {
    Ok(erasure::overwrite(&tools.eraser, definition(message.stream), message.sequence).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_without_a_row_is_older_than_what_was_made_from_it() {
        let now: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
        let ago = |minutes| now - SignedDuration::from_mins(minutes);
        let made = StoredAt::Before(ago(10));
        assert!(is_the_same(ago(60), made, now) && is_the_same(ago(9), made, now));
        // The stream was created again after the message was made.
        assert!(!is_the_same(ago(5), made, now));
        assert!(!is_the_same(ago(74 * 60), made, now));
        assert!(
            is_the_same(ago(1), StoredAt::At(ago(1)), now) && !is_the_same(ago(2), StoredAt::At(ago(1)), now)
        );
    }
}
