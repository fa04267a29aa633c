//! Reads a stream for people and tools: from its beginning, from a time, or only new messages. Nothing is acknowledged,
//! and no worker is affected.

use std::time::Duration;

use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy};
use futures_util::{Stream, StreamExt};
use jiff::Timestamp;

use crate::connect::Bus;
use crate::delivery::{Delivery, to_timestamp};
use crate::streams::StreamDefinition;

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

/// Timeout of each message while all stored messages are read.
const SILENCE_MAX: Duration = Duration::from_secs(10);

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The stream could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read stream {stream}")]
pub struct ReadError {
    stream: &'static str,
    #[source]
    source: Source,
}

impl ReadError {
    pub(crate) fn new(stream: &'static str, source: impl Into<Source>) -> Self {
        Self { stream, source: source.into() }
    }
}

/// A message, and the number of the reader's messages after it at this moment.
#[derive(Debug)]
pub struct ReadMessage {
    /// The message.
    pub delivery: Delivery,
    /// Messages after it; 0 at the end of what is stored.
    pub pending: u64,
}

/// The sequence of the newest message of a stream, even if that is no longer stored; 0 if there was none.
///
/// # Errors
/// [`ReadError`] when the stream is missing or unavailable.
pub async fn last_sequence(bus: &Bus, stream: &'static StreamDefinition) -> Result<u64, ReadError> {
    let found = bus.jetstream.get_stream(stream.name).await;
    let found = found.map_err(|error| ReadError::new(stream.name, error))?;
    Ok(found.cached_info().state.last_sequence)
}

/// The sequences of the oldest and the newest message of a stream. If the stream is empty, the first is greater than
/// the last.
///
/// # Errors
/// [`ReadError`] when the stream is missing or unavailable.
pub async fn sequences(bus: &Bus, stream: &'static StreamDefinition) -> Result<(u64, u64), ReadError> {
    let found = bus.jetstream.get_stream(stream.name).await;
    let found = found.map_err(|error| ReadError::new(stream.name, error))?;
    let state = &found.cached_info().state;
    Ok((state.first_sequence, state.last_sequence))
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

/// The messages of a subject filter, in the stream's order, without end.
pub struct Messages {
    inner: std::pin::Pin<Box<dyn Stream<Item = Result<ReadMessage, ReadError>> + Send>>,
    stream: &'static str,
    pending: u64,
    /// The newest message of the stream when reading began.
    last: u64,
    is_over: bool,
}

impl std::fmt::Debug for Messages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Messages").field("pending", &self.pending).finish_non_exhaustive()
    }
}

impl Messages {
    pub(crate) fn new(
        inner: impl Stream<Item = Result<ReadMessage, ReadError>> + Send + 'static,
        stream: &'static str,
        pending: u64,
        last: u64,
    ) -> Self {
        Self { inner: Box::pin(inner), stream, pending, last, is_over: pending == 0 }
    }

    /// The sequence of the newest message of the stream when reading began.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Number of messages that were stored when reading began.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Returns the next one of those that were stored when reading began; `None` after the last. It does not wait for
    /// messages that are purged in between.
    ///
    /// # Errors
    /// [`ReadError`], also when the server stops responding.
    pub async fn next_stored(&mut self) -> Result<Option<Delivery>, ReadError> {
        if self.is_over {
            return Ok(None);
        }
        let silent = || ReadError::new(self.stream, "timed out waiting for the next message");
        let next = tokio::time::timeout(SILENCE_MAX, self.inner.next()).await.map_err(|_| silent())?;
        let Some(read) = next.transpose()? else { return Ok(None) };
        self.is_over = read.pending == 0 || read.delivery.sequence >= self.last;
        // Later messages do not belong to them.
        Ok((read.delivery.sequence <= self.last).then_some(read.delivery))
    }

    /// Returns the next message, as soon as there is one.
    pub async fn next(&mut self) -> Option<Result<ReadMessage, ReadError>> {
        self.inner.next().await
    }
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
    Ok(crate::merge::merged(stream.name, sources))
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
    let fail = move |source: Source| ReadError { stream: stream.name, source };
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
