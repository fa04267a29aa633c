//! End to end: ingress, normalizer and a reader of EVENTS running together. It measures the time from a webhook's first
//! byte until its event can be read, at half of the maximum throughput.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use futures_util::StreamExt;
use hdrhistogram::Histogram;
use prost::Message;
use proto::v1::ReportEvent;
use tokio::time::Instant;

use crate::body::Bodies;
use crate::environment::Environment;
use crate::load::{self, Begun};
use crate::output;
use crate::results::{Aim, Measured, Row, WIDTH_MAX_LATENCY, WIDTH_MAX_RATE};
use crate::suite::ingress::start_ours;
use crate::suite::{CONNECTIONS, Effort, purge};

/// Most events of one pull of the reader.
const READER_BATCH: usize = 4000;
/// Inactivity after which the server removes the reader's consumer.
const READER_INACTIVE_THRESHOLD: Duration = Duration::from_secs(30);
/// Timeout of the wait for the last events.
const SETTLE_LIMIT: Duration = Duration::from_secs(60);

/// One round.
#[derive(Debug)]
struct Round {
    /// Highest throughput of the whole chain, in webhooks a second.
    capacity: f64,
    /// Webhooks a second of the measurement.
    rate: f64,
    /// Time from the first byte to the readable event.
    latency_us: Histogram<u64>,
    /// Events that did not arrive in time.
    missing: u64,
    /// Webhooks that were not answered 200.
    refused: u64,
}

/// Limit of the time to the readable event, 99th percentile, in milliseconds.
const P99_MS_MAX: f64 = 15.0;

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    let place = Environment::start(effort.layout).await?;
    let (ingress, target) = start_ours(&place).await?;
    let normalizer = place.program("imchannel-normalizer", &[])?;
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds {
        purge(&place, &["WEBHOOKS", "EVENTS"]).await?;
        let reader = Reader::start(&place, Arc::new(Bodies::new()), 0).await?;
        let posted = load::closed(&target, CONNECTIONS, effort.time, &reader.bodies).await?;
        let carried = reader.lock(|seen| seen.count) as f64 / reader.started.elapsed().as_secs_f64();
        let capacity = posted.per_second.min(carried);
        until_processed(&place).await;
        drop(reader);

        purge(&place, &["WEBHOOKS", "EVENTS"]).await?;
        let rate = (capacity / 2.0 / 100.0).round() * 100.0;
        let slots = (rate * (effort.time.as_secs_f64() + 2.0)) as usize;
        let reader = Reader::start(&place, Arc::new(Bodies::new()), slots).await?;
        let begun = Arc::clone(&reader.begun);
        let answers =
            load::open(&target, CONNECTIONS, rate, effort.time, &reader.bodies, Some(begun)).await?;
        until_processed(&place).await;
        let expected = reader.begun.count().saturating_sub(answers.errors);
        reader.until(expected).await;
        let latency_us = reader.lock(|seen| seen.latency_us.clone());
        let round = Round {
            capacity,
            rate,
            missing: expected.saturating_sub(latency_us.len()),
            refused: answers.errors,
            latency_us,
        };
        let millis = |quantile| round.latency_us.value_at_quantile(quantile) as f64 / 1000.0;
        output::say(&format!(
            "  carries {capacity:.0}/s; at {rate:.0}/s p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, {} missing",
            millis(0.5),
            millis(0.99),
            millis(0.999),
            round.missing
        ));
        rounds.push(round);
    }
    ingress.end().await;
    normalizer.end().await;
    Ok(measured(&rounds))
}

fn measured(rounds: &[Round]) -> Measured {
    let quantile = |id: &str, name: &str, at: f64| {
        let of = move |round: &Round| round.latency_us.value_at_quantile(at) as f64 / 1000.0;
        Row::alone(id, name, rounds.iter().map(of))
    };
    let capacity =
        Row::alone("capacity", "webhooks/s that they carry", rounds.iter().map(|round| round.capacity));
    let rate = Row::alone("rate", "webhooks/s of the measurement", rounds.iter().map(|round| round.rate));
    let median = quantile("median", "median, ms", 0.5);
    let p99 = quantile("p99", "99th percentile, ms", 0.99);
    let rows = [
        capacity.map(|row| row.with_width_max(WIDTH_MAX_RATE)),
        rate,
        median.map(|row| row.with_width_max(WIDTH_MAX_LATENCY)),
        p99.map(|row| row.with_aim(Aim::Below(P99_MS_MAX)).with_width_max(WIDTH_MAX_LATENCY)),
        quantile("p999", "99.9th percentile, ms", 0.999),
    ];
    let missing: u64 = rounds.iter().map(|round| round.missing).sum();
    let refused: u64 = rounds.iter().map(|round| round.refused).sum();
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

/// Reads EVENTS like a back end.
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
    async fn start(place: &Environment, bodies: Arc<Bodies>, slots: usize) -> anyhow::Result<Self> {
        let jetstream = jetstream::new(async_nats::connect(place.nats.url()).await?);
        let config = pull::Config {
            deliver_policy: DeliverPolicy::New,
            ack_policy: AckPolicy::None,
            inactive_threshold: READER_INACTIVE_THRESHOLD,
            ..pull::Config::default()
        };
        let consumer = jetstream.get_stream("EVENTS").await?.create_consumer(config).await?;
        // Requests more than arrives in a moment, so that the reader never waits for its next request.
        let mut messages = consumer.stream().max_messages_per_batch(READER_BATCH).messages().await?;
        let begun = Arc::new(Begun::new(slots));
        let seen = Arc::new(Mutex::new(Latencies { count: 0, latency_us: load::histogram() }));
        let task = tokio::spawn({
            let (bodies, begun, seen) = (Arc::clone(&bodies), Arc::clone(&begun), Arc::clone(&seen));
            async move {
                while let Some(Ok(message)) = messages.next().await {
                    let Ok(report) = ReportEvent::decode(message.payload.clone()) else { continue };
                    let Some(number) = bodies.number_of(&report.message_id) else { continue };
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
