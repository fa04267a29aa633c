//! The worker loop: pulls messages of a durable, passes them to a handler, and acks or naks each by its verdict.
//!
//! It does not interpret messages. It limits the number of messages in flight, extends the acks of slow ones, delays
//! retries, survives a handler's panic (and has a message given up whose handler panics repeatedly), creates a pull
//! again that receives no heartbeats, and on a stop finishes the messages in flight and naks the rest.

mod places;
mod settle;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::{MessagesErrorKind, Stream as Messages};
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{AckKind, Message};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::client::connect::Bus;
use crate::consume::delivery::{Delivery, Disposition};
use crate::consume::worker::places::Places;
pub use crate::consume::worker::settle::{POSTPONE_DELAY, POSTPONED_MAX};
use crate::consume::worker::settle::{Postponed, Settling, settle};
use crate::rate_limited_log::RateLimitedLog;
use crate::schema::streams::DurableDefinition;

/// Interval of the server's idle heartbeats while a pull waits.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Expiry of one pull. The client recovers from a lost pull only after it, so it is short.
const PULL_EXPIRES: Duration = Duration::from_secs(15);
/// Missing heartbeats in a row after which the pull is created again.
const HEARTBEATS_MISSED_MAX: u32 = 2;
/// Most lanes: each waits at the durable consumer with a separate pull, and the server supports a few hundred
/// (`max_waiting`).
const SHARDS_MAX: usize = 8;
/// Most bytes that the pulls of all lanes may return together, so that large messages cannot fill the memory.
const PULL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Smallest limit of one lane's pull in bytes: enough for the largest message.
const PULL_BYTES_MIN: usize = 2 * 1024 * 1024;
/// Most bytes of the messages in flight of all lanes.
const IN_FLIGHT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Nak delay of a message that was pulled and not begun, so that it does not return to this process while it stops.
const GIVE_BACK_DELAY: Duration = Duration::from_millis(500);
/// Timeout of all these naks.
const GIVE_BACK_LIMIT: Duration = Duration::from_secs(1);
/// Timeout of the wait for outstanding acks when the worker stops.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);
/// Checks of the messages in flight within one ack wait.
const HEARTBEATS_PER_ACK_WAIT: u32 = 12;
/// Delay between two attempts to create a pull.
const REBUILD_PAUSE: Duration = Duration::from_millis(250);
/// Time for which the worker pulls nothing after [`Disposition::Pause`].
const PAUSE: Duration = Duration::from_secs(5);
/// Number of the delivery from which a message whose handler panics is given up.
pub const PANICS_MAX: u64 = 10;

/// Options of a worker.
#[derive(Debug)]
pub struct WorkerOptions {
    /// The durable consumer from which it pulls.
    pub durable: &'static DurableDefinition,
    /// Most messages in flight.
    pub concurrency: usize,
    /// Time to finish the messages in flight after a stop.
    pub grace: Duration,
}

/// Metrics of a worker.
#[derive(Debug, Clone, Default)]
pub struct WorkerMetrics {
    done: Counter,
    retried: Counter,
    panicked: Counter,
    held: Gauge,
    paused: Gauge,
}

impl WorkerMetrics {
    /// Creates the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let all = registry.sub_registry_with_prefix("worker");
        all.register("processed", "Messages finished and acknowledged", metrics.done.clone());
        all.register("retries", "Messages that were nakked for a later attempt", metrics.retried.clone());
        all.register(
            "panics",
            "Handlers that panicked; their messages are retried, and given up as dead letters after ten attempts",
            metrics.panicked.clone(),
        );
        all.register(
            "in_flight_messages",
            "Messages in flight: delivered and being processed",
            metrics.held.clone(),
        );
        all.register(
            "paused",
            "More than 0 while the worker is paused because an output stream is full",
            metrics.paused.clone(),
        );
        metrics
    }
}

/// Pulls and handles messages until `stop`, then finishes those in flight within the grace time. It recovers from every
/// failure of the bus.
///
/// The work is done in lanes, one for each core. A lane pulls for itself and keeps its messages in one task, so that
/// neither receiving nor acking a message wakes another thread.
///
/// `give_up` finishes a message on which `handler` has panicked at its [`PANICS_MAX`]th delivery or later.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
///
/// use bus::worker::{self, WorkerMetrics, WorkerOptions};
/// use bus::{Bus, Disposition, streams};
/// use prometheus_client::registry::Registry;
/// use tokio_util::sync::CancellationToken;
///
/// # async fn example(bus: &Bus, stop: CancellationToken) {
/// let metrics = WorkerMetrics::register(&mut Registry::default());
/// let options = WorkerOptions { durable: &streams::NORMALIZER, concurrency: 64, grace: Duration::from_secs(10) };
/// let handler = |message: bus::Delivery| async move {
///     println!("message {} has {} bytes", message.sequence, message.payload.len());
///     Disposition::Done
/// };
/// let give_up = |_: bus::Delivery| async { Disposition::Done };
/// worker::run(bus, &options, &metrics, stop, handler, give_up).await;
/// # }
/// ```
pub async fn run<H, F, G, U>(
    bus: &Bus,
    options: &WorkerOptions,
    metrics: &WorkerMetrics,
    stop: CancellationToken,
    handler: H,
    give_up: G,
) where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Disposition> + Send + 'static,
    G: Fn(Delivery) -> U + Send + Sync + 'static,
    U: Future<Output = Disposition> + Send + 'static,
{
    let handlers = Arc::new(Handlers { handler, give_up });
    let put_off = Arc::new(Postponed::default());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let count = cores.min(options.concurrency).clamp(1, SHARDS_MAX);
    let lane = |place: usize| Shard {
        bus: bus.clone(),
        durable: options.durable,
        concurrency: options.concurrency / count + usize::from(place < options.concurrency % count),
        lanes: count,
        grace: options.grace,
        metrics: metrics.clone(),
        put_off: Arc::clone(&put_off),
        paused_until: None,
        held: Places::new(),
        held_bytes: 0,
    };
    let mut lanes = JoinSet::new();
    for place in 0..count {
        lanes.spawn(lane(place).run(stop.clone(), Arc::clone(&handlers)));
    }
    while let Some(ended) = lanes.join_next().await {
        // Handlers may panic. A lane does not, and if one did, its messages would not be processed.
        if let Err(error) = ended {
            tracing::error!(function = "worker", "a worker task failed and is restarted: {error}");
            lanes.spawn(lane(0).run(stop.clone(), Arc::clone(&handlers)));
        }
    }
    bus.flush(FLUSH_LIMIT).await;
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// The handler of messages, and the handler of those that are given up.
struct Handlers<H, G> {
    handler: H,
    give_up: G,
}

/// One of the lanes.
struct Shard {
    bus: Bus,
    durable: &'static DurableDefinition,
    concurrency: usize,
    /// Number of lanes.
    lanes: usize,
    grace: Duration,
    metrics: WorkerMetrics,
    put_off: Arc<Postponed>,
    paused_until: Option<Instant>,
    /// Messages in flight. A redelivery of a message whose first delivery is in flight has a place of its own.
    held: Places<InFlight>,
    held_bytes: usize,
}

/// A message in flight, for the heartbeats to the server.
struct InFlight {
    acker: Arc<Acker>,
    /// When the server last received an in-progress ack.
    heard_at: Instant,
    bytes: usize,
}

/// A message that was received.
struct Received {
    place: usize,
    delivery: Delivery,
    acker: Arc<Acker>,
}

/// A completed message.
struct Completed {
    place: usize,
    /// Whether no other message could be finished now either.
    asks_for_pause: bool,
}

impl Shard {
    async fn run<H, F, G, U>(mut self, stop: CancellationToken, handlers: Arc<Handlers<H, G>>)
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Disposition> + Send + 'static,
        G: Fn(Delivery) -> U + Send + Sync + 'static,
        U: Future<Output = Disposition> + Send + 'static,
    {
        let (handlers, metrics, put_off) = (&*handlers, self.metrics.clone(), Arc::clone(&self.put_off));
        let settling = Settling { metrics: &metrics, put_off: &put_off };
        let begin = |taken| handle(handlers, taken, settling);
        let mut work = FuturesUnordered::new();
        while !stop.is_cancelled() {
            match self.open(&mut work, &stop).await {
                Some(Ok(messages)) => self.work(messages, &mut work, &begin, &stop).await,
                Some(Err(error)) => {
                    tracing::debug!(function = "worker", "cannot pull from {}: {error}", self.durable.name);
                }
                None => break,
            }
            self.complete_for(REBUILD_PAUSE, &mut work, &stop).await;
        }
        // Messages that are not finished within the grace period are redelivered to another replica.
        if timeout(self.grace, self.complete_all(&mut work)).await.is_err() {
            let count = self.held.len();
            tracing::warn!(function = "worker", "{count} messages were not finished and will be redelivered");
        }
    }

    /// Opens a pull, and completes messages during that time; `None` at a stop.
    async fn open<W: Future<Output = Completed>>(
        &mut self,
        work: &mut FuturesUnordered<W>,
        stop: &CancellationToken,
    ) -> Option<Result<Messages, Fault>> {
        let bytes = (PULL_BYTES_MAX / self.lanes).max(PULL_BYTES_MIN);
        let mut opening = std::pin::pin!(pull(self.bus.clone(), self.durable, self.concurrency, bytes));
        let mut ticks = self.ticks();
        loop {
            tokio::select! {
                () = stop.cancelled() => return None,
                opened = &mut opening => return Some(opened),
                Some(settled) = work.next() => self.complete(&settled),
                _ = ticks.tick() => self.send_heartbeats(),
            }
        }
    }

    /// Receives messages until the pull must be created again or the worker stops.
    async fn work<W: Future<Output = Completed>>(
        &mut self,
        mut messages: Messages,
        work: &mut FuturesUnordered<W>,
        begin: &impl Fn(Received) -> W,
        stop: &CancellationToken,
    ) {
        let mut heartbeats_missed = 0;
        let mut ticks = self.ticks();
        loop {
            let has_room =
                work.len() < self.concurrency && self.held_bytes < IN_FLIGHT_BYTES_MAX / self.lanes;
            let may_take = has_room && self.paused_until.is_none();
            let pause_ends = self.paused_until;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(settled) = work.next() => self.complete(&settled),
                _ = ticks.tick() => self.send_heartbeats(),
                () = tokio::time::sleep_until(pause_ends.unwrap_or_else(Instant::now)), if pause_ends.is_some() => {
                    self.paused_until = None;
                    self.metrics.paused.dec();
                }
                next = messages.next(), if may_take => match next {
                    Some(Ok(message)) => {
                        heartbeats_missed = 0;
                        if let Some(taken) = self.receive(message) {
                            work.push(begin(taken));
                        }
                    }
                    Some(Err(error)) if error.kind() == MessagesErrorKind::MissingHeartbeat => {
                        heartbeats_missed += 1;
                        if heartbeats_missed >= HEARTBEATS_MISSED_MAX {
                            tracing::warn!(function = "worker", "no heartbeat from the server; creating the pull again");
                            break;
                        }
                    }
                    Some(Err(error)) => {
                        if let Some(turn) = PULL_BROKE.next() {
                            tracing::warn!(function = "worker", "the pull failed and is created again: {error}{turn}");
                        }
                        break;
                    }
                    None => break,
                },
            }
        }
        let _ = timeout(GIVE_BACK_LIMIT, give_back(messages, 2 * self.concurrency)).await;
    }

    /// Starts processing a message.
    fn receive(&mut self, message: Message) -> Option<Received> {
        let Some((delivery, acker)) = Delivery::split(message) else {
            tracing::error!(function = "worker", "ignored a message without a JetStream reply subject");
            return None;
        };
        self.metrics.held.inc();
        let acker = Arc::new(acker);
        let bytes = delivery.payload.len();
        let held = InFlight { acker: Arc::clone(&acker), heard_at: Instant::now(), bytes };
        self.held_bytes += bytes;
        Some(Received { place: self.held.put(held), delivery, acker })
    }

    fn complete(&mut self, settled: &Completed) {
        self.held_bytes -= self.held.take(settled.place).map_or(0, |held| held.bytes);
        self.metrics.held.dec();
        if settled.asks_for_pause && self.paused_until.is_none() {
            self.paused_until = Some(Instant::now() + PAUSE);
            self.metrics.paused.inc();
        }
    }

    /// Completes messages for a while without receiving more.
    async fn complete_for<W: Future<Output = Completed>>(
        &mut self,
        time: Duration,
        work: &mut FuturesUnordered<W>,
        stop: &CancellationToken,
    ) {
        let mut pause = std::pin::pin!(sleep(time));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut pause => return,
                Some(settled) = work.next() => self.complete(&settled),
            }
        }
    }

    /// Completes all messages in flight, without receiving more.
    async fn complete_all<W: Future<Output = Completed>>(&mut self, work: &mut FuturesUnordered<W>) {
        let mut ticks = self.ticks();
        while !work.is_empty() {
            tokio::select! {
                Some(settled) = work.next() => self.complete(&settled),
                _ = ticks.tick() => self.send_heartbeats(),
            }
        }
    }

    /// Returns the interval of the heartbeats, short enough to be in time for every message.
    fn ticks(&self) -> Interval {
        let mut ticks = interval(self.durable.ack_wait / HEARTBEATS_PER_ACK_WAIT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    }

    /// Sends in-progress acks for messages that are due. It never waits: if the client's buffer is full, the next check
    /// tries again.
    fn send_heartbeats(&mut self) {
        let every = self.durable.ack_wait / 3;
        for held in self.held.values_mut().filter(|held| held.heard_at.elapsed() >= every) {
            if held.acker.ack_with(AckKind::Progress).now_or_never().is_some() {
                held.heard_at = Instant::now();
            }
        }
    }
}

async fn pull(
    bus: Bus,
    durable: &'static DurableDefinition,
    messages_max: usize,
    bytes_max: usize,
) -> Result<Messages, Fault> {
    bus.connected().await;
    let consumer: PullConsumer =
        bus.jetstream.get_consumer_from_stream(durable.name, durable.stream.name).await?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(messages_max)
        .max_bytes_per_batch(bytes_max)
        .heartbeat(HEARTBEAT)
        .expires(PULL_EXPIRES)
        .messages()
        .await?;
    Ok(messages)
}

static PULL_BROKE: RateLimitedLog = RateLimitedLog::new();

/// Handles a message and acks or naks it by the verdict. A handler that panics costs one attempt, and at the last one
/// the message.
async fn handle<H, F, G, U>(handlers: &Handlers<H, G>, taken: Received, settling: Settling<'_>) -> Completed
where
    H: Fn(Delivery) -> F,
    F: Future<Output = Disposition>,
    G: Fn(Delivery) -> U,
    U: Future<Output = Disposition>,
{
    let Received { place, delivery, acker } = taken;
    let (sequence, attempt) = (delivery.sequence, delivery.attempt);
    let last_chance = (attempt >= PANICS_MAX).then(|| delivery.clone());
    let handling = AssertUnwindSafe(async { (handlers.handler)(delivery).await }).catch_unwind();
    let mut verdict = handling.await.ok();
    if verdict.is_none() {
        settling.metrics.panicked.inc();
        if let Some(delivery) = last_chance {
            // On the heap, because it is rare and would enlarge the future of every message.
            let giving_up = Box::pin(async { (handlers.give_up)(delivery).await });
            verdict = AssertUnwindSafe(giving_up).catch_unwind().await.ok();
        }
    }
    let verdict = verdict.unwrap_or_else(|| Disposition::retry("the handler panicked"));
    let asks_for_pause = settle(&acker, verdict, sequence, attempt, settling).await;
    Completed { place, asks_for_pause }
}

/// Naks messages that were pulled and not begun, so that another replica receives them soon and not after the ack wait.
/// Polling may pull more, hence the limit.
async fn give_back(mut messages: Messages, limit: usize) {
    for _ in 0..limit {
        // Outside tokio's budget, which would end the loop while messages are still available.
        let next = tokio::task::unconstrained(messages.next()).now_or_never();
        let Some(Some(Ok(message))) = next else { return };
        let _ = message.ack_with(AckKind::Nak(Some(GIVE_BACK_DELAY))).await;
    }
}
