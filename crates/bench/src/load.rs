//! The two kinds of load.
//!
//! *Closed*: every connection posts, waits for the response and posts again; this measures the throughput. *Open*:
//! requests are due at a constant rate, whether or not earlier ones were answered; this measures the latency. The
//! latency of a request that has to wait for a free connection counts from when it was due, so that slow moments are
//! not left out (coordinated omission). If the generator's own timer fired late, it counts from the wake-up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::body::Bodies;
use crate::client::{Connection, Target};

/// Longest time that the histogram records, in microseconds.
const LONGEST_US: u64 = 60_000_000;
/// Duration of the load before the measurement begins, so that connections, caches and code are warm.
const WARM_UP: Duration = Duration::from_millis(700);

/// Results of a load.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) per_second: f64,
    pub(crate) latency_us: Histogram<u64>,
    pub(crate) errors: u64,
}

impl Outcome {
    /// A quantile of the latency in milliseconds.
    pub(crate) fn millis(&self, quantile: f64) -> f64 {
        self.latency_us.value_at_quantile(quantile) as f64 / 1000.0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, p999) = (self.millis(0.5), self.millis(0.99), self.millis(0.999));
        write!(f, "{:.0} requests/s, p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms", self.per_second)?;
        if self.errors > 0 { write!(f, ", {} not answered 200", self.errors) } else { Ok(()) }
    }
}

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are in order")
}

/// Results of one connection.
struct Part {
    answered: u64,
    errors: u64,
    latency_us: Histogram<u64>,
}

impl Part {
    fn new() -> Self {
        Self { answered: 0, errors: 0, latency_us: histogram() }
    }

    fn count(&mut self, status: u16, latency: Duration) {
        if status != 200 {
            self.errors += 1;
            return;
        }
        self.answered += 1;
        self.latency_us.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US));
    }
}

/// Posts as fast as responses arrive.
pub(crate) async fn closed(
    target: &Target,
    connections: usize,
    time: Duration,
    bodies: &Arc<Bodies>,
) -> anyhow::Result<Outcome> {
    let start = Instant::now() + WARM_UP;
    let end = start + time;
    let mut running = JoinSet::new();
    for _ in 0..connections {
        let (target, bodies) = (target.clone(), Arc::clone(bodies));
        running.spawn(async move {
            let mut connection = Connection::open(&target).await?;
            let (mut part, mut body) = (Part::new(), Vec::new());
            loop {
                let begin = Instant::now();
                if begin >= end {
                    return anyhow::Ok(part);
                }
                body.clear();
                bodies.write(bodies.next_number(), &mut body);
                let status = connection.post(&body).await.context("the connection was lost")?;
                if begin >= start {
                    part.count(status, begin.elapsed());
                }
            }
        });
    }
    finish(running, time).await
}

/// Posts at a constant rate. `began` receives the start of each number, in microseconds since `epoch`.
pub(crate) async fn open(
    target: &Target,
    connections: usize,
    rate_per_s: f64,
    time: Duration,
    bodies: &Arc<Bodies>,
    begun: Option<Arc<Begun>>,
) -> anyhow::Result<Outcome> {
    let slots = Arc::new(AtomicU64::new(0));
    let began = Instant::now() + Duration::from_millis(50);
    let start = began + WARM_UP;
    let end = start + time;
    let mut running = JoinSet::new();
    for _ in 0..connections {
        let (target, slots, bodies, begun) =
            (target.clone(), Arc::clone(&slots), Arc::clone(bodies), begun.clone());
        running.spawn(async move {
            let mut connection = Connection::open(&target).await?;
            let (mut part, mut body) = (Part::new(), Vec::new());
            loop {
                let slot = slots.fetch_add(1, Ordering::Relaxed);
                let due = began + Duration::from_secs_f64(slot as f64 / rate_per_s);
                if due >= end {
                    return anyhow::Ok(part);
                }
                let is_free = Instant::now() < due;
                tokio::time::sleep_until(due).await;
                let begin = if is_free { Instant::now() } else { due };
                let number = bodies.next_number();
                if let Some(begun) = begun.as_ref().filter(|_| due >= start) {
                    begun.set(number, begin);
                }
                body.clear();
                bodies.write(number, &mut body);
                let status = connection.post(&body).await.context("the connection was lost")?;
                if due >= start {
                    part.count(status, begin.elapsed());
                }
            }
        });
    }
    let outcome = finish(running, time).await?;
    // More than can be answered takes longer than the requests were due.
    let longer = start.elapsed().as_secs_f64() / time.as_secs_f64();
    Ok(Outcome { per_second: outcome.per_second / longer.max(1.0), ..outcome })
}

async fn finish(mut running: JoinSet<anyhow::Result<Part>>, time: Duration) -> anyhow::Result<Outcome> {
    let mut whole = Part::new();
    while let Some(part) = running.join_next().await {
        let part = part??;
        whole.answered += part.answered;
        whole.errors += part.errors;
        whole.latency_us.add(&part.latency_us)?;
    }
    if whole.answered == 0 {
        bail!("no request was answered 200 ({} other responses)", whole.errors);
    }
    let per_second = whole.answered as f64 / time.as_secs_f64();
    Ok(Outcome { per_second, latency_us: whole.latency_us, errors: whole.errors })
}

/// Start time of each body.
#[derive(Debug)]
pub(crate) struct Begun {
    epoch: Instant,
    micros: Vec<AtomicU64>,
}

impl Begun {
    pub(crate) fn new(count: usize) -> Self {
        Self { epoch: Instant::now(), micros: (0..count).map(|_| AtomicU64::new(0)).collect() }
    }

    fn set(&self, number: u64, at: Instant) {
        let micros = at.duration_since(self.epoch).as_micros();
        if let Some(place) = usize::try_from(number).ok().and_then(|number| self.micros.get(number)) {
            place.store(u64::try_from(micros).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
        }
    }

    /// Returns the time since the start of a body; `None` for one that is not measured.
    pub(crate) fn age(&self, number: u64) -> Option<Duration> {
        let micros = self.micros.get(usize::try_from(number).ok()?)?.load(Ordering::Relaxed);
        let begun = self.epoch + Duration::from_micros(micros);
        (micros > 0).then(|| begun.elapsed())
    }

    /// Returns the number of started bodies.
    pub(crate) fn count(&self) -> u64 {
        self.micros.iter().filter(|micros| micros.load(Ordering::Relaxed) > 0).count() as u64
    }
}
