//! One task of a worker: it pulls for itself, keeps its messages in flight, and completes them.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::{MessagesErrorKind, Stream as Messages};
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::{AckKind, Message};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::client::connect::Bus;
use crate::consume::delivery::{Delivery, Disposition};
use crate::consume::worker::handle::{Completed, Handlers, Received, handle};
use crate::consume::worker::metrics::WorkerMetrics;
use crate::consume::worker::places::Places;
use crate::consume::worker::settle::{Postponed, Settling};
use crate::rate_limited_log::RateLimitedLog;
use crate::schema::streams::DurableDefinition;

/// Interval of the server's idle heartbeats while a pull waits.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Expiry of one pull. The client recovers from a lost pull only after it, so it is short.
const PULL_EXPIRES: Duration = Duration::from_secs(15);
/// Missing heartbeats in a row after which the pull is created again.
const HEARTBEATS_MISSED_MAX: u32 = 2;
/// Most bytes that the pulls of all shards may return together, so that large messages cannot fill the memory.
const PULL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Smallest limit of one shard's pull in bytes: enough for the largest message.
const PULL_BYTES_MIN: usize = 2 * 1024 * 1024;
/// Most bytes of the messages in flight of all shards.
const IN_FLIGHT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Nak delay of a message that was pulled and not begun, so that it does not return to this process while it stops.
const NAK_UNBEGUN_DELAY: Duration = Duration::from_millis(500);
/// Timeout of all these naks.
const NAK_UNBEGUN_LIMIT: Duration = Duration::from_secs(1);
/// Checks of the messages in flight within one ack wait.
const HEARTBEATS_PER_ACK_WAIT: u32 = 12;
/// Delay between two attempts to create a pull.
const REBUILD_PAUSE: Duration = Duration::from_millis(250);
/// Time for which the worker pulls nothing after [`Disposition::Pause`].
const PAUSE: Duration = Duration::from_secs(5);

type Fault = Box<dyn std::error::Error + Send + Sync>;

static PULL_BROKE: RateLimitedLog = RateLimitedLog::new();

/// One of the tasks of a worker.
pub(super) struct Shard {
    pub(super) bus: Bus,
    pub(super) durable: &'static DurableDefinition,
    /// Most of its messages in flight.
    pub(super) concurrency: usize,
    /// Number of all shards, which share the limits in bytes.
    pub(super) shards: usize,
    pub(super) grace: Duration,
    pub(super) metrics: WorkerMetrics,
    /// Shared by all shards.
    pub(super) postponed: Arc<Postponed>,
    pub(super) paused_until: Option<Instant>,
    /// Messages in flight. A redelivery of a message whose first delivery is in flight has a place of its own.
    pub(super) in_flight: Places<InFlight>,
    pub(super) in_flight_bytes: usize,
}

/// A message in flight, for the heartbeats to the server.
pub(super) struct InFlight {
    acker: Arc<Acker>,
    /// When the server last received an in-progress ack.
    heard_at: Instant,
    bytes: usize,
}

impl Shard {
    pub(super) async fn run<H, F, G, U>(mut self, stop: CancellationToken, handlers: Arc<Handlers<H, G>>)
    where
        H: Fn(Delivery) -> F + Send + Sync + 'static,
        F: Future<Output = Disposition> + Send + 'static,
        G: Fn(Delivery) -> U + Send + Sync + 'static,
        U: Future<Output = Disposition> + Send + 'static,
    {
        let (handlers, metrics, postponed) = (&*handlers, self.metrics.clone(), Arc::clone(&self.postponed));
        let settling = Settling { metrics: &metrics, postponed: &postponed };
        let begin = |received| handle(handlers, received, settling);
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
            let count = self.in_flight.len();
            tracing::warn!(function = "worker", "{count} messages were not finished and will be redelivered");
        }
    }

    /// Opens a pull, and completes messages during that time; `None` at a stop.
    async fn open<W: Future<Output = Completed>>(
        &mut self,
        work: &mut FuturesUnordered<W>,
        stop: &CancellationToken,
    ) -> Option<Result<Messages, Fault>> {
        let bytes = (PULL_BYTES_MAX / self.shards).max(PULL_BYTES_MIN);
        let limits = PullLimits { messages: self.concurrency, bytes };
        let mut opening = std::pin::pin!(pull(self.bus.clone(), self.durable, limits));
        let mut ticks = self.ticks();
        loop {
            tokio::select! {
                () = stop.cancelled() => return None,
                opened = &mut opening => return Some(opened),
                Some(completed) = work.next() => self.complete(&completed),
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
                work.len() < self.concurrency && self.in_flight_bytes < IN_FLIGHT_BYTES_MAX / self.shards;
            let may_receive = has_room && self.paused_until.is_none();
            let pause_ends = self.paused_until;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(completed) = work.next() => self.complete(&completed),
                _ = ticks.tick() => self.send_heartbeats(),
                () = tokio::time::sleep_until(pause_ends.unwrap_or_else(Instant::now)), if pause_ends.is_some() => {
                    self.paused_until = None;
                    self.metrics.paused.dec();
                }
                next = messages.next(), if may_receive => match next {
                    Some(Ok(message)) => {
                        heartbeats_missed = 0;
                        if let Some(received) = self.receive(message) {
                            work.push(begin(received));
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
        let _ = timeout(NAK_UNBEGUN_LIMIT, nak_unbegun(messages, 2 * self.concurrency)).await;
    }

    /// Starts processing a message.
    fn receive(&mut self, message: Message) -> Option<Received> {
        let Some((delivery, acker)) = Delivery::split(message) else {
            tracing::error!(function = "worker", "ignored a message without a JetStream reply subject");
            return None;
        };
        self.metrics.in_flight.inc();
        let acker = Arc::new(acker);
        let bytes = delivery.payload.len();
        let in_flight = InFlight { acker: Arc::clone(&acker), heard_at: Instant::now(), bytes };
        self.in_flight_bytes += bytes;
        Some(Received { place: self.in_flight.put(in_flight), delivery, acker })
    }

    fn complete(&mut self, completed: &Completed) {
        self.in_flight_bytes -= self.in_flight.take(completed.place).map_or(0, |message| message.bytes);
        self.metrics.in_flight.dec();
        if completed.asks_for_pause && self.paused_until.is_none() {
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
                Some(completed) = work.next() => self.complete(&completed),
            }
        }
    }

    /// Completes all messages in flight, without receiving more.
    async fn complete_all<W: Future<Output = Completed>>(&mut self, work: &mut FuturesUnordered<W>) {
        let mut ticks = self.ticks();
        while !work.is_empty() {
            tokio::select! {
                Some(completed) = work.next() => self.complete(&completed),
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
        for message in self.in_flight.values_mut().filter(|message| message.heard_at.elapsed() >= every) {
            if message.acker.ack_with(AckKind::Progress).now_or_never().is_some() {
                message.heard_at = Instant::now();
            }
        }
    }
}

/// The limits of one pull.
struct PullLimits {
    messages: usize,
    bytes: usize,
}

async fn pull(bus: Bus, durable: &'static DurableDefinition, limits: PullLimits) -> Result<Messages, Fault> {
    bus.connected().await;
    let consumer: PullConsumer =
        bus.jetstream.get_consumer_from_stream(durable.name, durable.stream.name).await?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(limits.messages)
        .max_bytes_per_batch(limits.bytes)
        .heartbeat(HEARTBEAT)
        .expires(PULL_EXPIRES)
        .messages()
        .await?;
    Ok(messages)
}

/// Naks messages that were pulled and not begun, so that another replica receives them soon and not after the ack wait.
/// Polling may pull more, hence the limit.
async fn nak_unbegun(mut messages: Messages, limit: usize) {
    for _ in 0..limit {
        // Outside tokio's budget, which would end the loop while messages are still available.
        let next = tokio::task::unconstrained(messages.next()).now_or_never();
        let Some(Some(Ok(message))) = next else { return };
        let _ = message.ack_with(AckKind::Nak(Some(NAK_UNBEGUN_DELAY))).await;
    }
}
