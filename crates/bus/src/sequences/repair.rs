//! Finds and repairs streams whose sequence has gone back, for the command line ([`crate::sequences::guard`] finds them in a
//! service).
//!
//! A stream is repaired by creating its durables again, from its first message on. Then messages that were stored below
//! their old positions are delivered. A bucket has no durables; an operator repairs it by accepting it as it is.

use async_nats::jetstream::consumer::{Config, DeliverPolicy};

use crate::client::connect::Bus;
use crate::provision::find::find_stream;
use crate::provision::{ProvisionError, durable_error, stream_error};
use crate::schema::stream_id::StreamId;
use crate::schema::streams::{STREAMS, StreamDefinition};
use crate::schema::timestamps::nanoseconds;
use crate::sequences::guard::{durables, has_mark};
use crate::sequences::marks::{self, Mark};

/// A stream or bucket, and the sequence that it had reached.
#[derive(Debug, Clone)]
pub struct StreamPosition {
    /// Which one it is.
    pub stream: StreamId,
    /// The sequence that it is known to have reached.
    pub reached: u64,
    /// Its last sequence now.
    pub last: u64,
    /// Whether it was created again since its mark was written. This matters only for the ledger.
    pub is_replaced: bool,
    /// Names of its durable consumers.
    pub durables: Vec<String>,
}

impl StreamPosition {
    /// Whether its sequence has gone back.
    pub fn has_gone_back(&self) -> bool {
        self.last < self.reached || self.is_replaced
    }

    /// Whether it is the ledger of sends.
    pub fn is_ledger(&self) -> bool {
        self.stream == StreamId::Sends
    }

    /// Whether it is a bucket. Only an operator can accept a bucket as it is.
    pub fn is_bucket(&self) -> bool {
        has_mark(self.stream)
    }
}

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Reads one stream, before something is published to it; `None` if it is missing.
///
/// # Errors
/// [`ProvisionError`] when the server does not respond.
pub async fn inspect(
    bus: &Bus,
    definition: &StreamDefinition,
) -> Result<Option<StreamPosition>, ProvisionError> {
    let name = definition.name;
    if find_stream(bus, definition.id).await?.is_none() {
        return Ok(None);
    }
    let places = durables(bus, definition.id).await.map_err(|error| stream_error(name, error))?;
    let reached = places.iter().map(|place| place.delivered).max().unwrap_or(0);
    // After the durables, because the stream grows in between.
    let Some(found) = find_stream(bus, definition.id).await? else { return Ok(None) };
    let last = found.cached_info().state.last_sequence;
    let durables = places.into_iter().map(|place| place.name).collect();
    Ok(Some(StreamPosition { stream: definition.id, reached, last, is_replaced: false, durables }))
}

/// Reads all streams, and the buckets that have marks. Missing ones are left out.
///
/// # Errors
/// [`ProvisionError`] when the server does not respond.
pub async fn inspect_all(bus: &Bus) -> Result<Vec<StreamPosition>, ProvisionError> {
    let mut all = Vec::new();
    for definition in STREAMS {
        all.extend(inspect(bus, definition).await?);
    }
    for id in [StreamId::Sends, StreamId::Channels] {
        let mark = marks::read(bus, id).await.map_err(|error| stream_error(id.name(), error))?;
        let Some(found) = find_stream(bus, id).await? else { continue };
        let info = found.cached_info();
        let is_ledger = id == StreamId::Sends;
        let now_ns = nanoseconds(time::OffsetDateTime::now_utc());
        let is_other = |mark: &Mark| match is_ledger {
            true => !marks::is_of_ledger(mark, &marks::FoundLedger::of(info), now_ns),
            false => mark.created_ns != nanoseconds(info.created),
        };
        let mark = mark.map(|stored| stored.mark);
        let is_replaced = is_ledger && mark.as_ref().is_some_and(is_other);
        let reached = mark.filter(|mark| !is_other(mark)).map_or(0, |mark| mark.sequence);
        let last = info.state.last_sequence;
        all.push(StreamPosition { stream: id, reached, last, is_replaced, durables: Vec::new() });
    }
    Ok(all)
}

/// Creates the durables of a stream again, each with its settings, from the first message on. Returns those that were
/// deleted and could not be created: an external consumer that this user must not create, or one whose filter the
/// server refuses.
///
/// # Errors
/// [`ProvisionError`] at the first that cannot be read or deleted. A retry continues from there.
pub async fn recreate_consumers(
    bus: &Bus,
    found: &StreamPosition,
) -> Result<Vec<ProvisionError>, ProvisionError> {
    let name = found.stream.name();
    let stream = bus.jetstream.get_stream_no_info(name).await.map_err(|error| stream_error(name, error))?;
    let mut not_made = Vec::new();
    for durable in &found.durables {
        let fail = |error: Source| durable_error(name, durable, error);
        let info = stream.consumer_info(durable).await.map_err(|error| fail(error.into()))?;
        let config = Config { deliver_policy: DeliverPolicy::All, ..info.config };
        stream.delete_consumer(durable).await.map_err(|error| fail(error.into()))?;
        let made = bus.jetstream.create_consumer_on_stream(config, name).await;
        not_made.extend(made.map_err(|error| fail(error.into())).err());
    }
    Ok(not_made)
}

/// Accepts a bucket as it is now. Services that refused it use it again within a second.
///
/// # Errors
/// [`ProvisionError`] when it or the bucket of marks is missing, or its mark was not written.
pub async fn accept(bus: &Bus, found: &StreamPosition) -> Result<(), ProvisionError> {
    let (id, name) = (found.stream, found.stream.name());
    if find_stream(bus, StreamId::Marks).await?.is_none() {
        return Err(stream_error(StreamId::Marks.name(), "it does not exist: run `imchannel setup` first"));
    }
    let stored = marks::read(bus, id).await.map_err(|error| stream_error(name, error))?;
    let Some(stream) = find_stream(bus, id).await? else {
        return Err(stream_error(name, "it does not exist"));
    };
    let info = stream.cached_info();
    let repairs = stored.as_ref().map_or(0, |stored| stored.mark.repairs) + 1;
    let mark = Mark { created_ns: nanoseconds(info.created), sequence: info.state.last_sequence, repairs };
    let written = marks::write(bus, id, &mark, stored.as_ref()).await;
    written.map_err(|error| stream_error(name, error))
}
