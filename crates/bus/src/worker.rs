//! The worker loop: pulls messages of a durable, hands them to a handler, and settles each by its verdict.
//!
//! It never decides what a message means. It bounds how many are held at once, keeps slow ones from being
//! delivered again, spaces retries, survives a handler's panic, rebuilds a pull that has gone silent, and on a stop
//! finishes what it holds and gives the rest back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::consumer::pull::{MessagesErrorKind, Stream as Messages};
use async_nats::jetstream::{AckKind, Message};
use futures_util::{FutureExt, StreamExt};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::connect::Bus;
use crate::delivery::{Delivery, Verdict};
use crate::streams::DurableDefinition;

/// The server sends a sign of life this often while a pull waits.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long one pull waits for messages. The client recovers from a lost pull only after it, so it is short.
const PULL_EXPIRES: Duration = Duration::from_secs(15);
/// After so many missing heartbeats in a row the pull is built anew.
const HEARTBEATS_MISSED_MAX: u32 = 2;
/// Bytes of messages that one pull may bring, so that large ones cannot fill the memory.
const PULL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What was pulled and not begun is given back with this delay, so that it does not come to us again while we stop.
const GIVE_BACK_DELAY: Duration = Duration::from_millis(500);
/// How long giving back may take.
const GIVE_BACK_LIMIT: Duration = Duration::from_secs(1);
/// Between two attempts to build a pull.
const REBUILD_PAUSE: Duration = Duration::from_millis(250);
/// How long the worker takes nothing after [`Verdict::Pause`].
const PAUSE: Duration = Duration::from_secs(5);
/// Delays before a message comes again, by the number of attempts it has had; the last one stays.
const RETRY_DELAYS_S: [u64; 7] = [1, 2, 5, 10, 20, 40, 60];

/// How a worker works.
#[derive(Debug)]
pub struct WorkerOptions {
    /// The durable that it pulls from.
    pub durable: &'static DurableDefinition,
    /// Messages that are held at once.
    pub concurrency: usize,
    /// How long it may finish what it holds after a stop.
    pub grace: Duration,
}

/// What a worker tells of itself.
#[derive(Debug, Clone, Default)]
pub struct WorkerMetrics {
    done: Counter,
    retried: Counter,
    panicked: Counter,
    held: Gauge,
    paused: Gauge,
}

impl WorkerMetrics {
    /// Makes the metrics and puts them into `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let all = registry.sub_registry_with_prefix("worker");
        all.register("done", "Messages finished and acknowledged", metrics.done.clone());
        all.register("retried", "Messages given back for a later attempt", metrics.retried.clone());
        all.register(
            "panicked",
            "Handlers that panicked; their messages are retried",
            metrics.panicked.clone(),
        );
        all.register("held", "Messages being worked on at this moment", metrics.held.clone());
        all.register(
            "paused",
            "1 while no message can be finished and none is taken",
            metrics.paused.clone(),
        );
        metrics
    }
}

/// Works until `stop`, then finishes what it holds within the grace time. Comes back from every fault of the bus.
pub async fn run<H, F>(
    bus: &Bus,
    options: &WorkerOptions,
    metrics: &WorkerMetrics,
    stop: CancellationToken,
    handler: H,
) where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    let handler = Arc::new(handler);
    let mut worker = Worker { bus, options, metrics, handler, held: JoinSet::new(), paused_until: None };
    while !stop.is_cancelled() {
        let opened = tokio::select! {
            () = stop.cancelled() => break,
            opened = open(bus, options) => opened,
        };
        match opened {
            Ok(messages) => worker.work(messages, &stop).await,
            Err(error) => {
                tracing::debug!(function = "worker", "cannot pull from {}: {error}", options.durable.name)
            }
        }
        worker.settle_for(REBUILD_PAUSE, &stop).await;
    }
    worker.drain().await;
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

async fn open(bus: &Bus, options: &WorkerOptions) -> Result<Messages, Fault> {
    bus.connected().await;
    let durable = options.durable;
    let consumer: PullConsumer =
        bus.jetstream.get_consumer_from_stream(durable.name, durable.stream.name).await?;
    let messages = consumer
        .stream()
        .max_messages_per_batch(options.concurrency)
        .max_bytes_per_batch(PULL_BYTES_MAX)
        .heartbeat(HEARTBEAT)
        .expires(PULL_EXPIRES)
        .messages()
        .await?;
    Ok(messages)
}

struct Worker<'w, H> {
    bus: &'w Bus,
    options: &'w WorkerOptions,
    metrics: &'w WorkerMetrics,
    handler: Arc<H>,
    /// A task for each message, so that all cores work.
    held: JoinSet<AsksForPause>,
    paused_until: Option<Instant>,
}

/// Whether a settled message asked for a pause.
type AsksForPause = bool;

impl<H, F> Worker<'_, H>
where
    H: Fn(Delivery) -> F + Send + Sync + 'static,
    F: Future<Output = Verdict> + Send + 'static,
{
    /// Takes messages until the pull must be built anew or the worker stops.
    async fn work(&mut self, mut messages: Messages, stop: &CancellationToken) {
        let mut heartbeats_missed = 0;
        loop {
            let may_take = self.held.len() < self.options.concurrency && self.paused_until.is_none();
            let pause_ends = self.paused_until;
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(asks_for_pause) = self.held.join_next() => self.settled(asks_for_pause),
                () = tokio::time::sleep_until(pause_ends.unwrap_or_else(Instant::now)), if pause_ends.is_some() => {
                    self.paused_until = None;
                    self.metrics.paused.set(0);
                }
                next = messages.next(), if may_take => match next {
                    Some(Ok(message)) => {
                        heartbeats_missed = 0;
                        self.take(message);
                    }
                    Some(Err(error)) if error.kind() == MessagesErrorKind::MissingHeartbeat => {
                        heartbeats_missed += 1;
                        if heartbeats_missed >= HEARTBEATS_MISSED_MAX {
                            tracing::warn!(function = "worker", "the server is silent; the pull is built anew");
                            break;
                        }
                    }
                    Some(Err(error)) => {
                        tracing::warn!(function = "worker", "the pull broke and is built anew: {error}");
                        break;
                    }
                    None => break,
                },
            }
        }
        let _ = timeout(GIVE_BACK_LIMIT, give_back(messages, 2 * self.options.concurrency)).await;
    }

    fn take(&mut self, message: Message) {
        let Some(delivery) = Delivery::from_message(&message) else {
            tracing::error!(
                function = "worker",
                "a message without JetStream's reply subject was left alone"
            );
            return;
        };
        self.metrics.held.inc();
        let (sequence, attempt) = (delivery.sequence, delivery.attempt);
        let (handler, metrics) = (Arc::clone(&self.handler), self.metrics.clone());
        let progress_every = self.options.durable.ack_wait / 3;
        self.held.spawn(async move {
            let handling = AssertUnwindSafe(async { handler(delivery).await }).catch_unwind();
            let verdict = with_progress(handling, &message, progress_every).await.unwrap_or_else(|_panic| {
                metrics.panicked.inc();
                Verdict::retry("the handler panicked")
            });
            settle(&message, verdict, (sequence, attempt), &metrics).await
        });
    }

    fn settled(&mut self, asks_for_pause: Result<AsksForPause, JoinError>) {
        self.metrics.held.dec();
        if asks_for_pause.unwrap_or(false) && self.paused_until.is_none() {
            self.paused_until = Some(Instant::now() + PAUSE);
            self.metrics.paused.set(1);
        }
    }

    /// Goes on settling for a while without taking anything.
    async fn settle_for(&mut self, time: Duration, stop: &CancellationToken) {
        let mut pause = std::pin::pin!(sleep(time));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut pause => return,
                Some(asks_for_pause) = self.held.join_next() => self.settled(asks_for_pause),
            }
        }
    }

    /// Finishes what is held within the grace time; the rest comes again elsewhere.
    async fn drain(&mut self) {
        let deadline = Instant::now() + self.options.grace;
        while let Ok(Some(asks_for_pause)) = tokio::time::timeout_at(deadline, self.held.join_next()).await {
            self.settled(asks_for_pause);
        }
        if !self.held.is_empty() {
            tracing::warn!(
                function = "worker",
                "{} messages were not finished and will come again",
                self.held.len()
            );
        }
        self.bus.flush(Duration::from_secs(2)).await;
    }
}

/// Gives back what was pulled and not begun, so that another replica has it soon and not after the ack wait. Polling
/// may pull more, hence the limit.
async fn give_back(mut messages: Messages, limit: usize) {
    for _ in 0..limit {
        // Outside tokio's budget, which would end the loop with messages still at hand.
        let next = tokio::task::unconstrained(messages.next()).now_or_never();
        let Some(Some(Ok(message))) = next else { return };
        let _ = message.ack_with(AckKind::Nak(Some(GIVE_BACK_DELAY))).await;
    }
}

/// Awaits `handling` and meanwhile tells the server that the message is still being worked on.
async fn with_progress<T>(handling: impl Future<Output = T>, message: &Message, every: Duration) -> T {
    let mut handling = std::pin::pin!(handling);
    loop {
        match timeout(every, &mut handling).await {
            Ok(outcome) => return outcome,
            Err(_) => {
                let _ = message.ack_with(AckKind::Progress).await;
            }
        }
    }
}

/// Tells the server what became of a message. A lost acknowledgement means that the message comes again, which
/// every handler bears.
async fn settle(
    message: &Message,
    verdict: Verdict,
    (sequence, attempt): (u64, u64),
    metrics: &WorkerMetrics,
) -> AsksForPause {
    let (reason, asks_for_pause) = match verdict {
        Verdict::Done => {
            let _ = message.ack().await;
            metrics.done.inc();
            return false;
        }
        Verdict::Retry { reason } => (reason, false),
        Verdict::Pause { reason } => (reason, true),
    };
    let delay = retry_delay(attempt, sequence);
    let _ = message.ack_with(AckKind::Nak(Some(delay))).await;
    metrics.retried.inc();
    let next = if asks_for_pause { "; taking no more for now" } else { "" };
    tracing::warn!(
        function = "worker",
        stream_sequence = sequence,
        "webhook {sequence} comes again in {:.1} s after attempt {attempt}: {reason}{next}",
        delay.as_secs_f32()
    );
    asks_for_pause
}

/// Grows with the attempts, and differs by up to a fifth between messages, so that what failed together does not
/// come back together.
fn retry_delay(attempt: u64, sequence: u64) -> Duration {
    let step = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
    let base = Duration::from_secs(RETRY_DELAYS_S[step.min(RETRY_DELAYS_S.len() - 1)]);
    let spread = sequence.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    base + base.mul_f64(spread as f64 / f64::from(u32::MAX) / 5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_and_stay_bounded() {
        let mut before = Duration::ZERO;
        for attempt in 1..=7 {
            let delay = retry_delay(attempt, 12_345);
            assert!(delay > before, "attempt {attempt}");
            before = delay;
        }
        for attempt in [0, 8, 1_000, u64::MAX] {
            for sequence in [0, 1, u64::MAX] {
                assert!(retry_delay(attempt, sequence) <= Duration::from_secs(72));
            }
        }
    }
}
