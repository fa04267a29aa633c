//! Gauges that show how far the readers are behind, for alerts.

use std::time::Duration;

use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::stream::Stream;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::connect::Bus;
use crate::delivery::to_timestamp;
use crate::read::ReadError;
use crate::streams::{DURABLES, DurableDefinition, SENDS_BUCKET, STREAMS};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurableLabels {
    stream: &'static str,
    durable: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabels {
    stream: &'static str,
}

/// Gauges of streams and consumers, updated every few seconds.
#[derive(Debug, Clone, Default)]
pub struct LagMetrics {
    pending: Family<DurableLabels, Gauge>,
    unacknowledged: Family<DurableLabels, Gauge>,
    oldest_age: Family<DurableLabels, Gauge>,
    bytes: Family<StreamLabels, Gauge>,
    max_bytes: Family<StreamLabels, Gauge>,
}

impl LagMetrics {
    /// Creates the gauges and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let durables = registry.sub_registry_with_prefix("consumer");
        durables.register(
            "pending_messages",
            "Messages that were not delivered to the durable yet",
            metrics.pending.clone(),
        );
        let help = "Messages that were delivered to a reader and not acknowledged yet";
        durables.register("unacknowledged_messages", help, metrics.unacknowledged.clone());
        let help = "Age of the oldest message that the durable has not acknowledged in seconds, 0 if all are acknowledged";
        durables.register("oldest_unprocessed_age_seconds", help, metrics.oldest_age.clone());
        let streams = registry.sub_registry_with_prefix("stream");
        streams.register("size_bytes", "Stored bytes of the stream", metrics.bytes.clone());
        streams.register("limit_bytes", "Limit of the stream in bytes", metrics.max_bytes.clone());
        metrics
    }
}

/// Updates the gauges every `interval` until `stop`.
pub async fn run(bus: &Bus, interval: Duration, metrics: &LagMetrics, stop: CancellationToken) {
    loop {
        if bus.is_connected() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = look(bus, metrics) => {}
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// Number of messages that a durable consumer has not acked, delivered or not.
///
/// # Errors
/// [`ReadError`] when the durable is missing or unavailable.
pub async fn backlog(bus: &Bus, durable: &DurableDefinition) -> Result<u64, ReadError> {
    let info = info(bus, durable).await?;
    Ok(info.num_pending + info.num_ack_pending as u64)
}

/// Ack floor of a durable consumer: the stream sequence up to which every message is acked.
///
/// # Errors
/// [`ReadError`] when the durable is missing or unavailable.
pub async fn ack_floor(bus: &Bus, durable: &DurableDefinition) -> Result<u64, ReadError> {
    Ok(info(bus, durable).await?.ack_floor.stream_sequence)
}

/// Last stream sequence that a durable consumer delivered.
///
/// # Errors
/// [`ReadError`] when the durable is missing or unavailable.
pub async fn delivered_sequence(bus: &Bus, durable: &DurableDefinition) -> Result<u64, ReadError> {
    Ok(info(bus, durable).await?.delivered.stream_sequence)
}

async fn info(bus: &Bus, durable: &DurableDefinition) -> Result<Info, ReadError> {
    let name = durable.stream.name;
    let stream = bus.jetstream.get_stream(name).await.map_err(|error| ReadError::new(name, error))?;
    stream.consumer_info(durable.name).await.map_err(|error| ReadError::new(name, error))
}

/// A stream at one moment.
#[derive(Debug, Clone)]
pub struct StreamState {
    /// Its name.
    pub name: &'static str,
    /// Number of stored messages.
    pub messages: u64,
    /// Stored bytes.
    pub bytes: u64,
    /// Its limit in bytes.
    pub max_bytes: u64,
}

/// A durable consumer at one moment.
#[derive(Debug, Clone)]
pub struct DurableState {
    /// Its stream.
    pub stream: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Messages that were not delivered yet (`num_pending`).
    pub pending: u64,
    /// Messages that were delivered and not acked (`num_ack_pending`).
    pub unacknowledged: u64,
    /// Age of the oldest message that is not acked, in seconds: 0 if all are, `None` if the server does not say.
    pub oldest_age_s: Option<i64>,
}

/// State of all streams and durable consumers at one moment.
#[derive(Debug, Clone, Default)]
pub struct LagSnapshot {
    /// The streams that answered.
    pub streams: Vec<StreamState>,
    /// The durables that answered.
    pub durables: Vec<DurableState>,
}

/// Reads the state of all streams and durable consumers. What does not respond is left out.
pub async fn snapshot(bus: &Bus) -> LagSnapshot {
    let mut snapshot = LagSnapshot::default();
    for definition in STREAMS {
        let Ok(stream) = bus.jetstream.get_stream(definition.name).await else {
            continue;
        };
        let info = stream.cached_info();
        snapshot.streams.push(StreamState {
            name: definition.name,
            messages: info.state.messages,
            bytes: info.state.bytes,
            max_bytes: u64::try_from(info.config.max_bytes).unwrap_or(0),
        });
        for durable in DURABLES.iter().filter(|durable| durable.stream.name == definition.name) {
            let Ok(info) = stream.consumer_info(durable.name).await else {
                continue;
            };
            snapshot.durables.push(DurableState {
                stream: definition.name,
                name: durable.name,
                pending: info.num_pending,
                unacknowledged: info.num_ack_pending as u64,
                oldest_age_s: oldest_age_s(&stream, &info).await,
            });
        }
    }
    snapshot
}

async fn look(bus: &Bus, metrics: &LagMetrics) {
    let snapshot = snapshot(bus).await;
    for stream in snapshot.streams {
        let labels = StreamLabels { stream: stream.name };
        metrics.bytes.get_or_create(&labels).set(to_gauge(stream.bytes));
        metrics.max_bytes.get_or_create(&labels).set(to_gauge(stream.max_bytes));
    }
    if let Ok(ledger) = bus.jetstream.get_stream(SENDS_BUCKET.stream).await {
        let info = ledger.cached_info();
        let labels = StreamLabels { stream: SENDS_BUCKET.stream };
        metrics.bytes.get_or_create(&labels).set(to_gauge(info.state.bytes));
        metrics.max_bytes.get_or_create(&labels).set(info.config.max_bytes);
    }
    for durable in snapshot.durables {
        let labels = DurableLabels { stream: durable.stream, durable: durable.name };
        metrics.pending.get_or_create(&labels).set(to_gauge(durable.pending));
        metrics.unacknowledged.get_or_create(&labels).set(to_gauge(durable.unacknowledged));
        // Without a response the age is unknown, so the last value stays.
        if let Some(age_s) = durable.oldest_age_s {
            metrics.oldest_age.get_or_create(&labels).set(age_s);
        }
    }
}

/// Returns the age of the first message after the ack floor in seconds; 0 without such a message, `None` if the server does
/// not report it.
async fn oldest_age_s(stream: &Stream, info: &Info) -> Option<i64> {
    if info.num_pending == 0 && info.num_ack_pending == 0 {
        return Some(0);
    }
    let state = &stream.cached_info().state;
    let sequence = (info.ack_floor.stream_sequence + 1).max(state.first_sequence);
    let message = stream.get_raw_message(sequence).await.ok()?;
    let stored_at = to_timestamp(message.time.unix_timestamp_nanos());
    Some(Timestamp::now().duration_since(stored_at).as_secs().max(0))
}

fn to_gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
