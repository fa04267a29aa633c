//! Reads a stream for people and tools: from its beginning, from a time, or only new messages. Nothing is acknowledged,
//! and no worker is affected.

pub mod follow;
mod last;
pub mod message_store;
mod merge;
mod messages;
mod observer;

use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy};
use futures_util::StreamExt;
use jiff::Timestamp;

use crate::client::connect::Bus;
use crate::consume::delivery::Delivery;
pub use crate::read::last::last_of_subject;
pub use crate::read::messages::{Messages, ReadError, ReadMessage};
use crate::schema::streams::StreamDefinition;
use crate::schema::timestamps::to_timestamp;

/// Where reading begins.
#[derive(Debug, Clone, Copy)]
pub enum StartAt {
    /// At the oldest message.
    Start,
    /// At the first message that was stored at that time or later.
    Time(Timestamp),
    /// At the message with that sequence, or the first one after it.
    Sequence(u64),
    /// At the first message that is stored from now on.
    Now,
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The sequence of the newest message of a stream, even if that is no longer stored; 0 if there was none.
///
/// # Errors
/// [`ReadError`] when the stream is missing or unavailable.
pub async fn last_sequence(bus: &Bus, stream: &'static StreamDefinition) -> Result<u64, ReadError> {
    let found = bus.jetstream.get_stream(stream.name).await;
    let found = found.map_err(|error| ReadError::new(stream.name, error))?;
    Ok(found.cached_info().state.last_sequence)
}

/// The sequences of a stream's oldest and newest message. If the stream is empty, the first is greater than the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequenceRange {
    /// That of the oldest message.
    pub first: u64,
    /// That of the newest message.
    pub last: u64,
}

/// The sequences that a stream holds.
///
/// # Errors
/// [`ReadError`] when the stream is missing or unavailable.
pub async fn sequences(bus: &Bus, stream: &'static StreamDefinition) -> Result<SequenceRange, ReadError> {
    let found = bus.jetstream.get_stream(stream.name).await;
    let found = found.map_err(|error| ReadError::new(stream.name, error))?;
    let state = &found.cached_info().state;
    Ok(SequenceRange { first: state.first_sequence, last: state.last_sequence })
}

/// A stream's identity and the sequences that it has given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamState {
    /// When it was created. A stream that was deleted and created again has another time, and counts from 1.
    pub created_at: Timestamp,
    /// The sequence of its newest message, even if that is no longer stored; 0 if there was none.
    pub last_sequence: u64,
}

/// A stream's identity and the sequences that it has given.
///
/// # Errors
/// [`ReadError`] when the stream is missing or unavailable.
pub async fn state(bus: &Bus, stream: &'static StreamDefinition) -> Result<StreamState, ReadError> {
    let found = bus.jetstream.get_stream(stream.name).await;
    let found = found.map_err(|error| ReadError::new(stream.name, error))?;
    let info = found.cached_info();
    Ok(StreamState {
        created_at: to_timestamp(info.created.unix_timestamp_nanos()),
        last_sequence: info.state.last_sequence,
    })
}

/// When the oldest message of a stream was stored; `None` if it is empty.
///
/// # Errors
/// [`ReadError`] when the stream is missing or unavailable.
pub async fn first_time(
    bus: &Bus,
    stream: &'static StreamDefinition,
) -> Result<Option<Timestamp>, ReadError> {
    let found = bus.jetstream.get_stream(stream.name).await;
    let found = found.map_err(|error| ReadError::new(stream.name, error))?;
    let state = &found.cached_info().state;
    Ok((state.messages > 0).then(|| to_timestamp(state.first_timestamp.unix_timestamp_nanos())))
}

/// Starts to read.
///
/// # Errors
/// [`ReadError`] when the stream is missing or unavailable; later ones come as items.
///
/// # Examples
/// ```no_run
/// use bus::read::{self, StartAt};
/// use bus::{Bus, streams, subject::Filter};
///
/// # async fn example(bus: &Bus) -> Result<(), bus::read::ReadError> {
/// let mut messages = read::subscribe(bus, &streams::EVENTS, Filter::default().all_events(), StartAt::Start).await?;
/// while let Some(event) = messages.next_stored().await? {
///     println!("{} {}", event.sequence, event.subject);
/// }
/// # Ok(())
/// # }
/// ```
pub async fn subscribe(
    bus: &Bus,
    stream: &'static StreamDefinition,
    filter: String,
    from: StartAt,
) -> Result<Messages, ReadError> {
    open(bus, stream, from, OrderedConfig { filter_subject: filter, ..OrderedConfig::default() }).await
}

/// Starts to read what matches any of several filters, where no message matches two. Messages that are stored when
/// reading begins come in the order of the stream, later ones as they arrive.
///
/// It creates one consumer for each filter: nats-server 2.9 supports no consumer with several filters, and ignores the
/// setting silently.
///
/// # Errors
/// As [`subscribe`].
pub async fn subscribe_all(
    bus: &Bus,
    stream: &'static StreamDefinition,
    filters: Vec<String>,
    from: StartAt,
) -> Result<Messages, ReadError> {
    let mut sources = Vec::with_capacity(filters.len());
    for filter in filters {
        sources.push(subscribe(bus, stream, filter, from).await?);
    }
    Ok(merge::merged(stream.name, sources))
}

/// Starts to read subjects and headers without payloads.
///
/// # Errors
/// As [`subscribe`].
pub async fn subscribe_headers(
    bus: &Bus,
    stream: &'static StreamDefinition,
    filter: String,
    from: StartAt,
) -> Result<Messages, ReadError> {
    let config = OrderedConfig { filter_subject: filter, headers_only: true, ..OrderedConfig::default() };
    open(bus, stream, from, config).await
}

async fn open(
    bus: &Bus,
    stream: &'static StreamDefinition,
    from: StartAt,
    config: OrderedConfig,
) -> Result<Messages, ReadError> {
    let fail = move |source: Source| ReadError::new(stream.name, source);
    let deliver_policy = match from {
        StartAt::Start => DeliverPolicy::All,
        StartAt::Now => DeliverPolicy::New,
        StartAt::Sequence(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
        StartAt::Time(time) => {
            let start_time = time::OffsetDateTime::from_unix_timestamp_nanos(time.as_nanosecond());
            DeliverPolicy::ByStartTime { start_time: start_time.map_err(|error| fail(error.into()))? }
        }
    };
    let config = OrderedConfig { deliver_policy, replay_policy: ReplayPolicy::Instant, ..config };
    let found = bus.jetstream.get_stream(stream.name).await.map_err(|error| fail(error.into()))?;
    let consumer = found.create_consumer(config).await.map_err(|error| fail(error.into()))?;
    let pending = consumer.cached_info().num_pending;
    let last = found.cached_info().state.last_sequence;
    let messages = consumer.messages().await.map_err(|error| fail(error.into()))?;
    let inner = messages.filter_map(move |message| {
        let read = match message {
            Ok(message) => {
                let pending = message.info().map_or(0, |info| info.pending);
                Delivery::split(message).map(|(delivery, _)| Ok(ReadMessage { delivery, pending }))
            }
            Err(error) => Some(Err(fail(error.into()))),
        };
        std::future::ready(read)
    });
    Ok(Messages::new(inner, stream.name, pending, last))
}
