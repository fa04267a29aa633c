//! Reads single messages of a stream by sequence, and deletes dead letters, for the operator.

use async_nats::jetstream::stream::RawMessageErrorKind;

use crate::client::connect::Bus;
use crate::consume::delivery::Delivery;
use crate::schema::streams::{DEADLETTERS, StreamDefinition};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A message could not be looked up or removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot read or delete message {sequence} of stream {stream}")]
pub struct MessageStoreError {
    stream: &'static str,
    sequence: u64,
    #[source]
    source: Source,
}

/// The message with a sequence; `None` if the stream does not hold it.
///
/// # Errors
/// [`MessageStoreError`] when the stream is missing or unavailable.
pub async fn get(
    bus: &Bus,
    stream: &'static StreamDefinition,
    sequence: u64,
) -> Result<Option<Delivery>, MessageStoreError> {
    let fail = |source: Source| MessageStoreError { stream: stream.name, sequence, source };
    let found = bus.jetstream.get_stream(stream.name).await.map_err(|error| fail(error.into()))?;
    match found.get_raw_message(sequence).await {
        Ok(message) => Ok(Some(Delivery::stored(message))),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(fail(error.into())),
    }
}

/// Deletes a dead letter, and returns whether it existed.
///
/// # Errors
/// [`MessageStoreError`] when the stream is missing or unavailable.
pub async fn drop_dead_letter(bus: &Bus, sequence: u64) -> Result<bool, MessageStoreError> {
    let fail = |source: Source| MessageStoreError { stream: DEADLETTERS.name, sequence, source };
    if get(bus, &DEADLETTERS, sequence).await?.is_none() {
        return Ok(false);
    }
    let found = bus.jetstream.get_stream(DEADLETTERS.name).await.map_err(|error| fail(error.into()))?;
    found.delete_message(sequence).await.map_err(|error| fail(error.into()))
}
