//! The purger: purges processed messages from a stream that is filling up.
//!
//! A stream that keeps messages by limits refuses new ones when it is full, even if all of them were processed long
//! ago. The purger purges, oldest first, only messages that every durable has acknowledged. Unprocessed messages stay,
//! so the stream may really become full. The purger reports that slightly before the server does. How messages are
//! removed depends on the servers' versions ([`crate::purge`]).
//!
//! Every durable counts, also one that the back end or an operator has created. Consumers that only observe do not count: those without a
//! durable name, such as the timeline's, and one that is called [`OBSERVER`], because the timeline's user may create a durable of that
//! name. Their progress keeps nothing and purges nothing. A stream with [`Purged::Never`] is only looked at.

use std::time::Duration;

use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::stream::Stream;
use futures_util::{StreamExt, TryStreamExt, stream};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::client::connect::Bus;
use crate::client::jetstream_errors::is_missing;
use crate::purge::fill::{self, Usage};
use crate::purge::{self, Fault, PurgeMethod, Removed};
use crate::schema::streams::{OBSERVER, Purged, StreamDefinition};

/// Messages that an idle durable consumer can still request before they are purged.
const IDLE_MARGIN: u64 = 16;
/// Share of a stream's bytes that a purge leaves.
const PURGE_TO: f64 = 0.50;

/// Most subjects that are purged concurrently. Each may need one message of up to 1 MiB to be read.
const SUBJECTS_AT_ONCE: usize = 4;

/// Metrics of the purger.
#[derive(Debug, Clone, Default)]
pub struct PurgeMetrics {
    purged: Counter,
}

impl PurgeMetrics {
    /// Creates the metrics and registers them in the registry of the service.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let help = "Processed messages purged from streams that were filling up";
        registry.register("purged_messages", help, metrics.purged.clone());
        metrics
    }
}

/// Checks the streams every `interval` until `stop`, and purges processed messages. Several purgers may run concurrently.
pub async fn run(
    bus: &Bus,
    streams: &[&'static StreamDefinition],
    interval: Duration,
    metrics: &PurgeMetrics,
    stop: CancellationToken,
) {
    let mut all: Vec<PurgeLog> =
        streams.iter().map(|definition| PurgeLog { definition, purged: 0 }).collect();
    let mut has_more = false;
    loop {
        let pause = if has_more { Duration::ZERO } else { interval };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        has_more = false;
        if !bus.is_connected() {
            continue;
        }
        for kept in &mut all {
            let made = tokio::select! {
                () = stop.cancelled() => return,
                made = purge_processed(bus, kept.definition) => made,
            };
            match made {
                Ok(removed) => {
                    metrics.purged.inc_by(removed.messages);
                    has_more |= removed.is_cut;
                    kept.note(removed);
                }
                Err(error) => {
                    tracing::debug!(function = "purger", "cannot check {}: {error}", kept.definition.name)
                }
            }
        }
    }
}

/// A stream, and what was removed from it since the last log line.
struct PurgeLog {
    definition: &'static StreamDefinition,
    purged: u64,
}

impl PurgeLog {
    /// Logs what was removed, once for all calls.
    fn note(&mut self, removed: Removed) {
        self.purged += removed.messages;
        if removed.is_cut || self.purged == 0 {
            return;
        }
        let (purged, name) = (std::mem::take(&mut self.purged), self.definition.name);
        tracing::info!(function = "purger", "purged {purged} processed messages of {name}");
    }
}

async fn purge_processed(bus: &Bus, definition: &StreamDefinition) -> Result<Removed, Fault> {
    let connection = bus.sequences.connection();
    let mut stream = bus.jetstream.get_stream(definition.name).await?;
    fill::note(bus, definition.id, &stream, connection).await;
    let Some(usage) = Usage::of(&stream) else { return Ok(Removed::default()) };
    if definition.purged == Purged::Never || !usage.is_filling_up() {
        return Ok(Removed::default());
    }
    let readers = readers(&stream).await?;
    let removed = if definition.purged == Purged::BySubject {
        purge_by_subject(bus, &stream, &readers).await?
    } else {
        purge_below_floors(bus, definition, &stream, &usage, &readers).await?
    };
    if removed.messages > 0 {
        let connection = bus.sequences.connection();
        stream.info().await?;
        fill::note(bus, definition.id, &stream, connection).await;
    }
    Ok(removed)
}

/// Purges messages that every reader has processed, down to [`PURGE_TO`].
async fn purge_below_floors(
    bus: &Bus,
    definition: &StreamDefinition,
    stream: &Stream,
    usage: &Usage,
    readers: &[Reader],
) -> Result<Removed, Fault> {
    let floors: Vec<u64> = readers.iter().map(|reader| reader.finished).collect();
    let Some(keep_from) = keep_from(definition, usage, &floors) else {
        return Ok(Removed::default());
    };
    let method = PurgeMethod::of(bus, stream.cached_info()).await;
    purge::all_below(bus, stream, method, keep_from).await
}

/// Purges of every subject the messages that its reader, and all readers of several subjects, have processed.
async fn purge_by_subject(bus: &Bus, stream: &Stream, readers: &[Reader]) -> Result<Removed, Fault> {
    let method = PurgeMethod::of(bus, stream.cached_info()).await;
    let wide = readers.iter().filter(|reader| reader.is_wide());
    let finished_by_wide = wide.map(|reader| reader.finished).min().unwrap_or(u64::MAX);
    let mut purges = Vec::new();
    for reader in readers {
        if !reader.is_wide() {
            let keep_from = reader.finished.min(finished_by_wide) + 1;
            purges.push(purge::subject_below(bus, stream, method, &reader.filter, keep_from));
        }
    }
    let mut purges = stream::iter(purges).buffer_unordered(SUBJECTS_AT_ONCE);
    let mut sum = Removed::default();
    while let Some(removed) = purges.try_next().await? {
        sum.messages += removed.messages;
        sum.is_cut |= removed.is_cut;
    }
    Ok(sum)
}

/// A durable, for the purger.
struct Reader {
    /// The subject that it reads; empty for all.
    filter: String,
    /// The sequence up to which it has processed everything.
    finished: u64,
}

impl Reader {
    /// Whether it reads several subjects.
    fn is_wide(&self) -> bool {
        self.filter.is_empty() || self.filter.split('.').any(|token| token == "*" || token == ">")
    }
}

/// Reads all durables. Consumers that are deleted with their reader, such as that of a `tail`, and observers delay no purge.
///
/// It reads the names first and then each durable separately: a cluster's list of consumers silently omits those whose
/// leader does not respond, and an omitted durable must not count as a missing one.
async fn readers(stream: &Stream) -> Result<Vec<Reader>, Fault> {
    let last_sequence = stream.cached_info().state.last_sequence;
    let names: Vec<String> = stream.consumer_names().try_collect().await?;
    let mut readers = Vec::new();
    for name in names {
        let info = match stream.consumer_info(&name).await {
            Ok(info) => info,
            // A consumer that was deleted in between.
            Err(error) if is_missing(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        if info.config.durable_name.is_some() && name != OBSERVER {
            let finished = ack_floor(&info, last_sequence);
            readers.push(Reader { filter: info.config.filter_subject, finished });
        }
    }
    Ok(readers)
}

/// A durable with a filter may be idle for long, and its ack floor stays at its last message. Without pending messages
/// it needs nothing that was stored before this request. The margin is for a consumer whose leader has not seen the
/// newest messages yet.
fn ack_floor(info: &Info, last_sequence: u64) -> u64 {
    let floor = info.ack_floor.stream_sequence;
    let is_idle = info.num_pending == 0 && info.num_ack_pending == 0;
    if is_idle { floor.max(last_sequence.saturating_sub(IDLE_MARGIN)) } else { floor }
}

/// Returns the first sequence to keep, or `None` if nothing may be purged.
fn keep_from(definition: &StreamDefinition, usage: &Usage, floors: &[u64]) -> Option<u64> {
    let finished = match floors.iter().min() {
        Some(floor) => *floor,
        None if definition.purged == Purged::AcknowledgedOrOldest => usage.last_sequence,
        None => return None,
    };
    let excess = usage.bytes as f64 - usage.max_bytes as f64 * PURGE_TO;
    let share = (excess / usage.bytes as f64).clamp(0.0, 1.0);
    let count = (usage.messages as f64 * share).ceil() as u64;
    let keep_from = (usage.first_sequence + count).min(finished + 1);
    (keep_from > usage.first_sequence).then_some(keep_from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::{EVENTS, WEBHOOKS};

    const FULL: Usage = Usage {
        messages: 1000,
        bytes: 1_000_000,
        max_bytes: 1_000_000,
        first_sequence: 501,
        last_sequence: 1500,
    };

    #[test]
    fn half_of_a_full_stream_goes_when_all_is_processed() {
        assert_eq!(keep_from(&WEBHOOKS, &FULL, &[1500]), Some(1001));
        assert_eq!(keep_from(&EVENTS, &FULL, &[]), Some(1001));
    }

    #[test]
    fn nothing_unprocessed_goes() {
        assert_eq!(keep_from(&WEBHOOKS, &FULL, &[1500, 600]), Some(601));
        assert_eq!(keep_from(&WEBHOOKS, &FULL, &[1500, 500]), None);
        assert_eq!(keep_from(&WEBHOOKS, &FULL, &[0]), None);
        assert_eq!(keep_from(&WEBHOOKS, &FULL, &[]), None);
    }
}
