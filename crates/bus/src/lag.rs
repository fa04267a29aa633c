//! How far the readers are behind: the numbers that a pager watches.

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

/// The gauges. They are looked up every few seconds, so they may be that old.
#[derive(Debug, Clone, Default)]
pub struct LagMetrics {
    pending: Family<DurableLabels, Gauge>,
    unacknowledged: Family<DurableLabels, Gauge>,
    oldest_age: Family<DurableLabels, Gauge>,
    bytes: Family<StreamLabels, Gauge>,
    max_bytes: Family<StreamLabels, Gauge>,
}

impl LagMetrics {
    /// Makes the gauges and puts them into `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let durables = registry.sub_registry_with_prefix("consumer");
        durables.register(
            "pending_messages",
            "Messages that the durable has not been given yet",
            metrics.pending.clone(),
        );
        let help = "Messages given to a reader and not acknowledged yet";
        durables.register("unacknowledged_messages", help, metrics.unacknowledged.clone());
        let help = "Age in seconds of the oldest message that the durable has not acknowledged, 0 when there is none";
        durables.register("oldest_unprocessed_age_seconds", help, metrics.oldest_age.clone());
        let streams = registry.sub_registry_with_prefix("stream");
        streams.register("size_bytes", "Bytes that the stream holds", metrics.bytes.clone());
        streams.register("limit_bytes", "Bytes that the stream may hold", metrics.max_bytes.clone());
        metrics
    }
}

/// Looks every `interval` until `stop`.
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

/// Messages that a durable has not acknowledged yet, given out or not.
///
/// # Errors
/// [`ReadError`] when the durable is missing or out of reach.
pub async fn backlog(bus: &Bus, durable: &DurableDefinition) -> Result<u64, ReadError> {
    let info = info(bus, durable).await?;
    Ok(info.num_pending + info.num_ack_pending as u64)
}

/// The sequence up to which a durable has acknowledged everything.
///
/// # Errors
/// [`ReadError`] when the durable is missing or out of reach.
pub async fn acknowledged_to(bus: &Bus, durable: &DurableDefinition) -> Result<u64, ReadError> {
    Ok(info(bus, durable).await?.ack_floor.stream_sequence)
}

/// The sequence up to which a durable has given everything out.
///
/// # Errors
/// [`ReadError`] when the durable is missing or out of reach.
pub async fn delivered_to(bus: &Bus, durable: &DurableDefinition) -> Result<u64, ReadError> {
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
    /// Messages that it holds.
    pub messages: u64,
    /// Bytes that it holds.
    pub bytes: u64,
    /// Bytes that it may hold.
    pub max_bytes: u64,
}

/// A durable at one moment.
#[derive(Debug, Clone)]
pub struct DurableState {
    /// Its stream.
    pub stream: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Messages that it has not been given yet.
    pub pending: u64,
    /// Messages given to a reader and not acknowledged.
    pub unacknowledged: u64,
    /// Age of the oldest message that it has not acknowledged, in seconds; 0 when there is none, `None` when the server
    /// does not say.
    pub oldest_age_s: Option<i64>,
}

/// How far everybody is.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// The streams that answered.
    pub streams: Vec<StreamState>,
    /// The durables that answered.
    pub durables: Vec<DurableState>,
}

/// Looks at all streams and durables; what does not answer is left out.
pub async fn snapshot(bus: &Bus) -> Snapshot {
    let mut snapshot = Snapshot::default();
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
        // No answer says nothing about the age: what was found last stands.
        if let Some(age_s) = durable.oldest_age_s {
            metrics.oldest_age.get_or_create(&labels).set(age_s);
        }
    }
}

/// Age of the first message after the acknowledged floor, in seconds; 0 when there is none, `None` when the server does
/// not say.
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
