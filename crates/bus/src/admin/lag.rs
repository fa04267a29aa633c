//! Gauges that show how far the readers are behind, for alerts.

use std::time::Duration;

use async_nats::jetstream::consumer::Info;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::admin::inspect::{self, StreamInfo};
use crate::client::connect::Bus;
use crate::client::jetstream_errors::is_missing;
use crate::provision::find::find_stream;
use crate::read::ReadError;
use crate::schema::stream_id::StreamId;
use crate::schema::streams::DurableDefinition;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DurableLabels {
    stream: &'static str,
    durable: String,
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

    fn show(&self, stream: &StreamInfo, limit: i64) {
        let labels = StreamLabels { stream: stream.name() };
        self.bytes.get_or_create(&labels).set(to_gauge(stream.bytes));
        self.max_bytes.get_or_create(&labels).set(limit);
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

/// The same for a durable that may be missing: `None` then.
///
/// # Errors
/// [`ReadError`] when the durable is unavailable.
pub async fn known_ack_floor(bus: &Bus, durable: &DurableDefinition) -> Result<Option<u64>, ReadError> {
    let name = durable.stream.name;
    let stream = bus.jetstream.get_stream(name).await.map_err(|error| ReadError::new(name, error))?;
    match stream.consumer_info(durable.name).await {
        Ok(info) => Ok(Some(info.ack_floor.stream_sequence)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(ReadError::new(name, error)),
    }
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

async fn look(bus: &Bus, metrics: &LagMetrics) {
    let snapshot = inspect::snapshot(bus).await;
    for stream in &snapshot.streams {
        metrics.show(stream, stream.max_bytes.map_or(0, to_gauge));
    }
    if let Ok(Some(ledger)) = find_stream(bus, StreamId::Sends).await {
        let info = ledger.cached_info();
        metrics.show(&inspect::stream_info(StreamId::Sends, info), info.config.max_bytes);
    }
    let now = Timestamp::now();
    for durable in snapshot.durables {
        let labels = DurableLabels { stream: durable.stream.name(), durable: durable.name.clone() };
        metrics.pending.get_or_create(&labels).set(to_gauge(durable.pending));
        metrics.unacknowledged.get_or_create(&labels).set(to_gauge(durable.held));
        // Without a response the age is unknown, so the last value stays.
        if let Some(age_s) = durable.oldest_age_s(now) {
            metrics.oldest_age.get_or_create(&labels).set(age_s);
        }
    }
}

fn to_gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
