//! The worker of one lane: fetches commands at the rate of the channel, starts them in order, extends their acks, and
//! acknowledges them when they are done. What is done with one command is in [`send`](mod@crate::send).

pub(crate) mod erasure;
pub(crate) mod expiry;
mod fetch;
mod panics;
mod recipient_queue;
mod refresh;
mod report;
mod start;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bus::Priority;
use bus::pull::{AckHandle, PullEvent, PullReader, Pulled};
use bus::streams::LANE_MAX_ACK_PENDING;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::command::{self, PendingCommand};
use crate::context::{Completion, LaneContext};
use crate::lane::expiry::WaitingCommands;
use crate::lane::recipient_queue::{Entry, RECIPIENT_WAITING_MAX, RecipientQueues, recipient_queue_full};
use crate::reconcile;
use crate::reject;
use crate::result::dead_letter_reason::DeadLetterReason;
use crate::send::{Overtaken, Turn};

/// Most commands that are being sent or looked up concurrently.
const IN_PROGRESS_MAX: usize = 1000;
/// Most commands of each queue that wait for their turn or behind others to the same recipient. Seven recipients at
/// their limit leave room for commands to others.
const WAITING_MAX: usize = 8 * RECIPIENT_WAITING_MAX;
/// Per queue, a lane holds waiting commands, commands in progress and commands fetched ahead. Their sum must not exceed
/// the `max_ack_pending` of the consumer.
const _: () = assert!(WAITING_MAX + IN_PROGRESS_MAX + PREFETCH_MAX <= LANE_MAX_ACK_PENDING);
/// Most bytes of all commands that a lane holds. Above it the lane fetches nothing.
const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most commands that are fetched ahead.
const PREFETCH_MAX: usize = 500;
/// Interval of the in-progress acks of held commands: a third of the ack wait.
const ACK_EXTEND_INTERVAL: Duration = Duration::from_secs(3);
/// Interval of the lane's other checks.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// A command whose processing in this lane has ended.
struct Finished {
    sequence: u64,
    /// The recipient whom it kept busy, if it did.
    recipient: Option<String>,
    ending: Completion,
}

/// A command that this lane holds: it was delivered and is not acknowledged.
struct InFlight {
    ack: AckHandle,
    bytes: usize,
    queue: Priority,
    stored_at: Timestamp,
}

/// Commands in flight of the former owner that were not redelivered yet.
#[derive(Debug, Clone, Copy)]
struct AwaitedRedelivery {
    /// Their number; zero before it was first counted.
    missing: u64,
    /// Since when the lane waits for them.
    since: Instant,
}

impl AwaitedRedelivery {
    fn begin() -> Self {
        Self { missing: 0, since: Instant::now() }
    }
}

/// The state of the worker.
struct LaneWorker {
    lane: LaneContext,
    reader: PullReader,
    /// Commands that are not started yet. They are in boxes, because each recipient's map has room for several, and nearly all recipients
    /// have one.
    queues: RecipientQueues<Box<PendingCommand>>,
    /// All commands that the lane holds, by their sequence in the stream.
    in_flight: HashMap<u64, InFlight>,
    held_bytes: usize,
    /// Each command is a separate task. A future that waits for room in the client's queue must be polled while this
    /// loop waits for room too; otherwise it keeps the room that it was granted and the client blocks.
    running: JoinSet<Finished>,
    /// Commands with an unknown outcome that may be overtaken now, and the channel on which they report this.
    overtaken: mpsc::UnboundedReceiver<Overtaken>,
    overtaking: mpsc::UnboundedSender<Overtaken>,
    /// Commands that were refused since the last check.
    refused: usize,
    /// While this is set, no command is started. The lane fetches as many as are missing.
    awaiting_redelivery: Option<AwaitedRedelivery>,
    is_paused: watch::Receiver<bool>,
    waiting: watch::Receiver<WaitingCommands>,
    /// When starting a command may be tried again.
    next_start: Option<Instant>,
}

/// Works a lane until it is closed, and then finishes the commands in progress.
pub(crate) async fn run(lane: LaneContext, is_paused: watch::Receiver<bool>) {
    let channel = lane.account.channel.clone();
    let reader = match PullReader::open(&lane.shared.bus, &channel).await {
        Ok(reader) => reader,
        Err(error) => return tracing::error!(function = "sender", "{error}"),
    };
    let (reports, waiting) = watch::channel(WaitingCommands::default());
    let (overtaking, overtaken) = mpsc::unbounded_channel();
    // However this function ends, all tasks of the lane end too.
    let _closing = lane.closing.clone().drop_guard();
    let closing = lane.closing.clone();
    let watching = tokio::spawn(expiry::watch(lane.clone(), reports));
    let reconciling = reconcile::start(&lane);
    let erasing = tokio::spawn(erasure::watch(lane.clone()));
    let metrics = Arc::clone(&lane.shared.metrics);
    let mut worker = LaneWorker {
        lane,
        reader,
        queues: RecipientQueues::default(),
        in_flight: HashMap::new(),
        held_bytes: 0,
        running: JoinSet::new(),
        overtaken,
        overtaking,
        refused: 0,
        awaiting_redelivery: Some(AwaitedRedelivery::begin()),
        is_paused,
        waiting,
        next_start: None,
    };
    worker.run().await;
    closing.cancel();
    watching.abort();
    if let Some(reconciling) = reconciling {
        reconciling.abort();
    }
    erasing.abort();
    worker.shut_down().await;
    metrics.forget(&channel);
}

impl LaneWorker {
    async fn run(&mut self) {
        let closing = self.lane.closing.clone();
        let mut extending = interval(ACK_EXTEND_INTERVAL);
        let mut refreshing = interval(REFRESH_INTERVAL);
        for ticks in [&mut extending, &mut refreshing] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let next_start = self.next_start;
            tokio::select! {
                () = closing.cancelled() => return,
                event = self.reader.next() => match event {
                    Some(PullEvent::Command(pulled)) => self.receive(*pulled),
                    // The server redelivers what was in flight, and later commands must not overtake it.
                    Some(PullEvent::Ended) => {}
                    Some(PullEvent::Reconnected) => {
                        self.awaiting_redelivery = Some(AwaitedRedelivery::begin());
                    }
                    None => return,
                },
                Some(finished) = self.running.join_next(), if !self.running.is_empty() => match finished {
                    Ok(finished) => self.finish(finished).await,
                    // It is unknown which command it was. The next owner processes all of them again.
                    Err(_) => return,
                },
                Some(overtaken) = self.overtaken.recv() => self.overtake(&overtaken),
                () = sleep_until(next_start), if next_start.is_some() => {}
                // On the heap, because an idle lane mostly waits for the next check.
                _ = self.is_paused.changed() => Box::pin(self.refresh()).await,
                _ = extending.tick() => self.extend_acks().await,
                _ = refreshing.tick() => Box::pin(self.refresh()).await,
            }
            self.start();
            if self.fetch().await.is_err() {
                return;
            }
        }
    }

    /// Adds a command that was delivered.
    fn receive(&mut self, pulled: Pulled) {
        let Pulled { queue, delivery, claim: ack } = pulled;
        let delivery = Arc::new(delivery);
        let sequence = delivery.sequence;
        if delivery.attempt > 1
            && let Some(awaited) = &mut self.awaiting_redelivery
        {
            awaited.missing = awaited.missing.saturating_sub(1);
        }
        let bytes = delivery.payload.len();
        self.held_bytes += bytes;
        let held = InFlight { ack, bytes, queue, stored_at: delivery.stored_at };
        if let Some(before) = self.in_flight.insert(sequence, held) {
            // It was redelivered while this lane holds it, because an in-progress ack came too late. The new ack handle
            // counts.
            self.held_bytes -= before.bytes;
            return;
        }
        match command::read(&self.lane.account.channel, &delivery) {
            Ok(job) => {
                let recipient = job.command.recipient.clone();
                let too_many =
                    self.queues.insert(&recipient, Entry { queue, sequence, bytes, command: job.into() });
                for entry in too_many {
                    self.refused += 1;
                    self.lane.shared.metrics.recipient_queue_full.inc();
                    self.begin(None, entry.command, Turn::Reject(recipient_queue_full().into()));
                }
            }
            Err(invalid) => {
                if invalid.dead == Some(DeadLetterReason::Panicked) {
                    self.lane.shared.metrics.panicked.inc();
                }
                let (lane, rejected) = (self.lane.clone(), Arc::clone(&delivery));
                self.spawn(
                    delivery,
                    None,
                    async move { reject::until_stored(&lane, &rejected, &invalid).await },
                );
            }
        }
    }

    /// Lets the next command to a recipient start although the outcome of this one is unknown.
    fn overtake(&mut self, overtaken: &Overtaken) {
        self.lane.shared.metrics.overtaken.inc();
        self.queues.overtake(&overtaken.recipient, overtaken.sequence);
    }

    /// Acknowledges a finished command. One that was released is held until the lane closes, and then goes to the next
    /// owner.
    async fn finish(&mut self, finished: Finished) {
        if let Some(recipient) = &finished.recipient {
            self.queues.finish(recipient, finished.sequence);
        }
        if finished.ending == Completion::Released {
            return;
        }
        let Some(held) = self.in_flight.remove(&finished.sequence) else { return };
        self.held_bytes -= held.bytes;
        // The ack of another one is not extended any more, so the server redelivers it after the ack wait.
        if finished.ending.is_acknowledged() {
            held.ack.ack().await;
        }
    }

    async fn extend_acks(&mut self) {
        if !self.lane.lease.is_valid() {
            // Another replica may own the lane. Extending the acks would delay its work.
            return;
        }
        for held in self.in_flight.values() {
            held.ack.in_progress().await;
        }
    }

    /// Finishes the commands in progress and naks the rest, in order.
    async fn shut_down(mut self) {
        let mut extending = interval(ACK_EXTEND_INTERVAL);
        while !self.running.is_empty() {
            tokio::select! {
                Some(finished) = self.running.join_next() => {
                    if let Ok(finished) = finished {
                        self.finish(finished).await;
                    }
                }
                _ = extending.tick() => self.extend_acks().await,
            }
        }
        // Pending requests are closed first. Otherwise the server would deliver the nakked commands to this lane again.
        let unread = self.reader.close().await;
        if !self.lane.lease.is_valid() {
            // The next owner has them, or gets them soon.
            return;
        }
        let mut acks: Vec<_> =
            self.in_flight.into_iter().map(|(sequence, held)| (sequence, held.ack)).collect();
        acks.extend(unread.into_iter().map(|pulled| (pulled.delivery.sequence, pulled.claim)));
        acks.sort_by_key(|(sequence, _)| *sequence);
        for (_, ack) in acks {
            ack.nak().await;
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}
