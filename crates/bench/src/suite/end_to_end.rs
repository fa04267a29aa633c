//! End to end: ingress, normalizer and a reader of EVENTS running together. It measures the time from a webhook's first
//! byte until its event can be read, at half of the maximum throughput; and the same of the bare receiver and loop at that rate.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use bytes::Bytes;
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use prost::Message;
use proto::v1::ReportEvent;
use tokio::time::Instant;

use crate::baseline;
use crate::body::Bodies;
use crate::client::Target;
use crate::environment::Environment;
use crate::load::{self, Begun};
use crate::output;
use crate::results::{Aim, Measured, Row, WIDTH_MAX_LATENCY, WIDTH_MAX_RATE};
use crate::suite::ingress::Both;
use crate::suite::{CONNECTIONS, Effort, purge};

/// Most events of one pull of the reader.
const READER_BATCH: usize = 4000;
/// Inactivity after which the server removes the reader's consumer.
const READER_INACTIVE_THRESHOLD: Duration = Duration::from_secs(30);
/// Timeout of the wait for the last events.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// The programs that turn webhooks into events.
#[derive(Debug, Clone, Copy)]
pub(super) enum Chain {
    /// The baseline receiver and loop, whose events are the webhooks.
    Bare,
    Ours,
}

impl Chain {
    pub(super) fn streams(self) -> [&'static str; 2] {
        match self {
            Self::Bare => [baseline::RAW, baseline::OUT],
            Self::Ours => ["WEBHOOKS", "EVENTS"],
        }
    }

    /// The number of the body that an event was made of.
    fn number(self, event: &Bytes, bodies: &Bodies) -> Option<u64> {
        match self {
            // The id is the third string of a body.
            Self::Bare => bodies.number_of(std::str::from_utf8(event).ok()?.split('"').nth(5)?),
            Self::Ours => bodies.number_of(&ReportEvent::decode(event.clone()).ok()?.message_id),
        }
    }
}

/// One round.
#[derive(Debug)]
struct Round {
    /// Highest throughput of the whole chain, in webhooks a second.
    capacity: f64,
    /// Webhooks a second of the measurement.
    rate: f64,
    ours: Latency,
    bare: Latency,
}

/// What a chain did at a constant rate.
#[derive(Debug)]
pub(super) struct Latency {
    /// Time from the first byte to the readable event.
    latency_us: Histogram<u64>,
    /// Events that did not arrive in time.
    pub(super) missing: u64,
    /// Webhooks that were not answered 200.
    refused: u64,
}

impl Latency {
    pub(super) fn millis(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1000.0
    }
}

/// Limit of the time to the readable event, 99th percentile, in milliseconds.
const P99_MS_MAX: f64 = 15.0;

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let Both { place, ours, our_target, baseline, baseline_target } = Both::start(effort).await?;
    let normalizer = place.program("imchannel-normalizer", &[])?;
    let bare_loop = place.baseline(&["baseline-normalize"])?;
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds {
        let capacity = capacity(&place, &our_target, effort).await?;
        let rate = (capacity / 2.0 / 100.0).round() * 100.0;
        let ours = at_rate(&place, Chain::Ours, &our_target, rate, effort).await?;
        let bare = at_rate(&place, Chain::Bare, &baseline_target, rate, effort).await?;
        output::say(&format!("  carries {capacity:.0}/s; at {rate:.0}/s:"));
        for (name, of) in [("imchannel", &ours), ("bare     ", &bare)] {
            let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|quantile| of.millis(quantile));
            output::say(&format!(
                "  {name} p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, {} missing",
                of.missing
            ));
        }
        rounds.push(Round { capacity, rate, ours, bare });
    }
    for program in [ours, normalizer, baseline, bare_loop] {
        program.end().await;
    }
    Ok(measured(&rounds))
}

/// What imchannel carries, in webhooks a second.
async fn capacity(place: &Environment, target: &Target, effort: Effort) -> anyhow::Result<f64> {
    purge(place, &Chain::Ours.streams()).await?;
    let reader = Reader::start(place, Chain::Ours, 0).await?;
    let posted = load::closed(target, CONNECTIONS, effort.time, &reader.bodies).await?;
    let carried = reader.lock(|seen| seen.count) as f64 / reader.started.elapsed().as_secs_f64();
    until_processed(place).await;
    Ok(posted.per_second.min(carried))
}

/// What a chain does at a constant rate, in webhooks a second.
pub(super) async fn at_rate(
    place: &Environment,
    chain: Chain,
    target: &Target,
    rate: f64,
    effort: Effort,
) -> anyhow::Result<Latency> {
    purge(place, &chain.streams()).await?;
    let slots = (rate * (effort.time.as_secs_f64() + 2.0)) as usize;
    let reader = Reader::start(place, chain, slots).await?;
    let begun = Arc::clone(&reader.begun);
    let answers = load::open(target, CONNECTIONS, rate, effort.time, &reader.bodies, Some(begun)).await?;
    let expected = reader.begun.count().saturating_sub(answers.errors);
    reader.until(expected).await;
    let latency_us = reader.lock(|seen| seen.latency_us.clone());
    Ok(Latency { missing: expected.saturating_sub(latency_us.len()), refused: answers.errors, latency_us })
}

fn measured(rounds: &[Round]) -> Measured {
    let quantile = |id: &str, name: &str, of: fn(&Round) -> &Latency, at: f64| {
        Row::alone(id, name, rounds.iter().map(move |round| of(round).millis(at)))
    };
    let ours: fn(&Round) -> &Latency = |round| &round.ours;
    let bare: fn(&Round) -> &Latency = |round| &round.bare;
    let capacity =
        Row::alone("capacity", "webhooks/s that they carry", rounds.iter().map(|round| round.capacity));
    let rate = Row::alone("rate", "webhooks/s of the measurement", rounds.iter().map(|round| round.rate));
    let median = quantile("median", "median, ms", ours, 0.5);
    let p99 = quantile("p99", "99th percentile, ms", ours, 0.99);
    let rows = [
        capacity.map(|row| row.with_width_max(WIDTH_MAX_RATE)),
        rate,
        median.map(|row| row.with_width_max(WIDTH_MAX_LATENCY)),
        p99.map(|row| row.with_aim(Aim::Below(P99_MS_MAX)).with_width_max(WIDTH_MAX_LATENCY)),
        quantile("p999", "99.9th percentile, ms", ours, 0.999),
        quantile("bare-median", "median of the bare programs at that rate, ms", bare, 0.5),
        quantile("bare-p99", "99th percentile of the bare programs at that rate, ms", bare, 0.99),
    ];
    let missing: u64 = rounds.iter().map(|round| round.ours.missing).sum();
    let refused: u64 = rounds.iter().map(|round| round.ours.refused).sum();
    let remark = format!("Webhooks not answered 200: {refused}; events that did not come out: {missing}.");
    Measured { rows: rows.into_iter().flatten().collect(), remarks: vec![remark], ..Measured::default() }
}

async fn until_processed(place: &Environment) {
    let deadline = Instant::now() + SETTLE_LIMIT;
    while Instant::now() < deadline {
        if matches!(bus::lag::backlog(&place.bus, &bus::streams::NORMALIZER).await, Ok(0)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

struct Latencies {
    count: u64,
    latency_us: Histogram<u64>,
}

/// Reads the events like a back end.
struct Reader {
    bodies: Arc<Bodies>,
    begun: Arc<Begun>,
    seen: Arc<Mutex<Latencies>>,
    started: Instant,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Reader {
    async fn start(place: &Environment, chain: Chain, slots: usize) -> anyhow::Result<Self> {
        let bodies = Arc::new(Bodies::new());
        let [_, events] = chain.streams();
        let jetstream = jetstream::new(async_nats::connect(place.nats.url()).await?);
        let config = pull::Config {
            deliver_policy: DeliverPolicy::New,
            ack_policy: AckPolicy::None,
            inactive_threshold: READER_INACTIVE_THRESHOLD,
            ..pull::Config::default()
        };
        let consumer = jetstream.get_stream(events).await?.create_consumer(config).await?;
        // Requests more than arrives in a moment, so that the reader never waits for its next request.
        let mut messages = consumer.stream().max_messages_per_batch(READER_BATCH).messages().await?;
        let begun = Arc::new(Begun::new(slots));
        let seen = Arc::new(Mutex::new(Latencies { count: 0, latency_us: load::histogram() }));
        let task = tokio::spawn({
            let (bodies, begun, seen) = (Arc::clone(&bodies), Arc::clone(&begun), Arc::clone(&seen));
            async move {
                while let Some(Ok(message)) = messages.next().await {
                    let Some(number) = chain.number(&message.payload, &bodies) else { continue };
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.count += 1;
                    if let Some(age) = begun.age(number) {
                        seen.latency_us.saturating_record(u64::try_from(age.as_micros()).unwrap_or(u64::MAX));
                    }
                }
            }
        });
        Ok(Self { bodies, begun, seen, started: Instant::now(), task })
    }

    fn lock<T>(&self, read: impl FnOnce(&Latencies) -> T) -> T {
        read(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until this number of measured events were read.
    async fn until(&self, expected: u64) {
        let deadline = Instant::now() + SETTLE_LIMIT;
        while self.lock(|seen| seen.latency_us.len()) < expected && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
