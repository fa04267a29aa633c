//! The loop of one lane: fetches commands at the rate of the channel, starts them in order, extends their acks, and
//! acknowledges them when they are done.

mod report;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bus::pull::{AckHandle, PullError, PullEvent, PullReader, Pulled};
use bus::streams::LANE_MAX_ACK_PENDING;
use bus::{Delivery, Priority, command_consumers};
use jiff::Timestamp;
use opentelemetry::trace::SpanKind;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::command::{self, PendingCommand};
use crate::dead_letter::DeadLetterReason;
use crate::expiry::{self, WaitingCommands};
use crate::gate::Denied;
use crate::held::{Entry, RECIPIENT_WAITING_MAX, RecipientQueues};
use crate::panics;
use crate::reject;
use crate::send::{Completion, LaneContext, Overtaken, Overtaking, Turn};

/// Most commands that are being sent or looked up concurrently.
const IN_PROGRESS_MAX: usize = 1000;
/// Most of them from the bulk queue. Agents' commands have the rest: a campaign whose outcomes are all unknown must not
/// delay them.
const IN_PROGRESS_BULK_MAX: usize = 800;
/// Most commands of each queue that wait for their turn or behind others to the same recipient. Seven recipients at
/// their limit leave room for commands to others.
const WAITING_MAX: usize = 8 * RECIPIENT_WAITING_MAX;
/// Per queue, a lane holds waiting commands, commands in progress and commands fetched ahead. Their sum must not exceed
/// the `max_ack_pending` of the consumer.
const _: () = assert!(WAITING_MAX + IN_PROGRESS_MAX + PREFETCH_MAX <= LANE_MAX_ACK_PENDING);
/// Most bytes of all commands that a lane holds. Above it the lane fetches nothing.
const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Time for which a lane fetches ahead at its rate.
const PREFETCH: Duration = Duration::from_millis(500);
/// Fewest commands that are fetched ahead.
const PREFETCH_MIN: usize = 4;
/// Most commands that are fetched ahead.
const PREFETCH_MAX: usize = 500;
/// Interval of the in-progress acks of held commands: a third of the ack wait.
const ACK_EXTEND_INTERVAL: Duration = Duration::from_secs(3);
/// Interval of the lane's other checks.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Longest wait for the redelivery of the former owner's commands in flight after a lane changed hands.
const REDELIVERY_WAIT_MAX: Duration = Duration::from_secs(25);
/// Time for which the loop leaves every second permit to commands that wait for one themselves.
const TURN: Duration = Duration::from_millis(10);
/// Timeout of counting the former owner's commands in flight.
const COUNT_LIMIT: Duration = Duration::from_secs(1);

/// A command whose processing in this lane has ended.
struct Finished {
    sequence: u64,
    recipient: String,
    ending: Completion,
}

/// The ack handle of a command, and the command's size.
struct InFlight {
    claim: AckHandle,
    bytes: usize,
    queue: Priority,
    stored_at: Timestamp,
}

/// The state of the loop.
struct LaneWorker {
    lane: LaneContext,
    reader: PullReader,
    held: RecipientQueues<PendingCommand>,
    holds: HashMap<u64, InFlight>,
    held_bytes: usize,
    /// Each command is a separate task. A future that waits for room in the client's queue must be polled while this
    /// loop waits for room too; otherwise it keeps the room that it was granted and the client blocks.
    running: JoinSet<Finished>,
    /// Commands with an unknown outcome that may be overtaken now, and the channel on which they report this.
    overtaken: mpsc::UnboundedReceiver<Overtaken>,
    overtaking: mpsc::UnboundedSender<Overtaken>,
    /// Commands that were refused since the last check.
    refused: usize,
    /// Commands in flight of the former owner that were not redelivered yet, and since when the lane waits for them.
    /// Their number is unknown before the first check, and until then the lane fetches nothing.
    awaiting_redelivery: Option<(u64, Instant)>,
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
    let (told, waiting) = watch::channel(WaitingCommands::default());
    let (overtaking, overtaken) = mpsc::unbounded_channel();
    // However this function ends, all tasks of the lane end too.
    let _closing = lane.closing.clone().drop_guard();
    let closing = lane.closing.clone();
    let watching = tokio::spawn(expiry::watch(lane.clone(), told));
    let metrics = Arc::clone(&lane.shared.metrics);
    let mut working = LaneWorker {
        lane,
        reader,
        held: RecipientQueues::default(),
        holds: HashMap::new(),
        held_bytes: 0,
        running: JoinSet::new(),
        overtaken,
        overtaking,
        refused: 0,
        awaiting_redelivery: Some((0, Instant::now())),
        is_paused,
        waiting,
        next_start: None,
    };
    working.run().await;
    closing.cancel();
    watching.abort();
    working.shut_down().await;
    metrics.forget(&channel);
}

impl LaneWorker {
    async fn run(&mut self) {
        let closing = self.lane.closing.clone();
        let mut keeping = interval(ACK_EXTEND_INTERVAL);
        let mut looking = interval(REFRESH_INTERVAL);
        for ticks in [&mut keeping, &mut looking] {
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            let next_start = self.next_start;
            tokio::select! {
                () = closing.cancelled() => return,
                came = self.reader.next() => match came {
                    Some(PullEvent::Command(taken)) => self.take(*taken),
                    // The server redelivers what was in flight, and later commands must not overtake it.
                    Some(PullEvent::Ended) => {}
                    Some(PullEvent::Reconnected) => self.awaiting_redelivery = Some((0, Instant::now())),
                    None => return,
                },
                Some(finished) = self.running.join_next(), if !self.running.is_empty() => match finished {
                    Ok(finished) => self.finish(finished).await,
                    // It is unknown which command it was. The next owner processes all of them again.
                    Err(_) => return,
                },
                Some(overtaken) = self.overtaken.recv() => self.overtake(&overtaken),
                () = sleep_until(next_start), if next_start.is_some() => {}
                _ = self.is_paused.changed() => self.refresh().await,
                _ = keeping.tick() => self.extend_acks().await,
                _ = looking.tick() => self.refresh().await,
            }
            self.start();
            if self.fetch().await.is_err() {
                return;
            }
        }
    }

    /// Adds a command that was delivered.
    fn take(&mut self, taken: Pulled) {
        let Pulled { queue, delivery, claim } = taken;
        let sequence = delivery.sequence;
        if delivery.attempt > 1
            && let Some((left, _)) = &mut self.awaiting_redelivery
        {
            *left = left.saturating_sub(1);
        }
        let bytes = delivery.payload.len();
        self.held_bytes += bytes;
        let hold = InFlight { claim, bytes, queue, stored_at: delivery.stored_at };
        if let Some(before) = self.holds.insert(sequence, hold) {
            // It was redelivered while this lane holds it, because an in-progress ack came too late. The new ack handle
            // counts.
            self.held_bytes -= before.bytes;
            return;
        }
        match command::read(&self.lane.account.channel, &delivery) {
            Ok(job) => {
                let recipient = job.command.recipient.clone();
                let too_many = self.held.insert(&recipient, Entry { queue, sequence, bytes, command: job });
                for entry in too_many {
                    self.refused += 1;
                    self.lane.shared.metrics.recipient_queue_full.inc();
                    self.begin(String::new(), entry.command, Turn::Refuse);
                }
            }
            Err(unsendable) => {
                if unsendable.dead == Some(DeadLetterReason::Panicked) {
                    self.lane.shared.metrics.panicked.inc();
                }
                let (lane, refused) = (self.lane.clone(), delivery.clone());
                self.push(delivery, String::new(), async move {
                    reject::until_stored(&lane, &refused, &unsendable).await
                });
            }
        }
    }

    /// Lets the next command to a recipient start although the outcome of this one is unknown.
    fn overtake(&mut self, overtaken: &Overtaken) {
        self.lane.shared.metrics.overtaken.inc();
        self.held.overtake(&overtaken.recipient, overtaken.sequence);
    }

    /// Acknowledges a finished command. One that was released is held until the lane closes, and then goes to the next
    /// owner.
    async fn finish(&mut self, finished: Finished) {
        self.held.finish(&finished.recipient, finished.sequence);
        if finished.ending == Completion::Released {
            return;
        }
        let Some(hold) = self.holds.remove(&finished.sequence) else { return };
        self.held_bytes -= hold.bytes;
        match finished.ending {
            Completion::Done => hold.claim.ack().await,
            // Its ack is not extended any more, so the server redelivers it after the ack wait.
            Completion::Failed | Completion::Released => {}
        }
    }

    /// Starts all commands that may be started now.
    fn start(&mut self) {
        self.next_start = None;
        self.lane.gate.new_commands_wait();
        if self.awaiting_redelivery.is_some() || self.lane.closing.is_cancelled() {
            return;
        }
        while let Some(Entry { queue, command: first, .. }) = self.held.peek() {
            let places = if *queue == Priority::Interactive { IN_PROGRESS_MAX } else { IN_PROGRESS_BULK_MAX };
            if self.running.len() >= places {
                return;
            }
            // An expired command is answered immediately, even in a halted lane. A redelivered command may need a
            // look-up or its result published again; if it has to be sent, it waits for a permit by itself.
            let needs_leave = Timestamp::now() < first.deadline && first.delivery.attempt == 1;
            let mut pass = None;
            if needs_leave {
                if !self.lane.gate.is_new_commands_turn() {
                    self.next_start = Some(Instant::now() + TURN);
                    return;
                }
                if !self.lane.shared.ledger.takes_more(&self.lane.account.channel) {
                    // The commands in progress wait for the ledger. Starting more would only make that wait longer.
                    self.next_start = Some(Instant::now() + TURN);
                    return;
                }
                match self.lane.gate.try_acquire(Instant::now()) {
                    Ok(leave) => pass = Some(leave),
                    Err(Denied::Rate(until) | Denied::Limited(until) | Denied::Broken(until)) => {
                        self.next_start = Some(until);
                        return;
                    }
                    // The end of the probe, or the next check, wakes the loop.
                    Err(Denied::Probing | Denied::Halted) => return,
                }
            }
            let Some(Entry { sequence, command: job, .. }) = self.held.start() else { return };
            let recipient = job.command.recipient.clone();
            let this = Overtaken { recipient: recipient.clone(), sequence };
            let overtaking = Overtaking { this, lane: self.overtaking.clone() };
            self.begin(recipient, job, Turn::Send { pass, overtaking });
        }
    }

    /// Starts processing a command. `recipient` becomes free at its end; it is empty for a command that keeps no
    /// recipient busy.
    fn begin(&mut self, recipient: String, job: PendingCommand, turn: Turn) {
        let lane = self.lane.clone();
        self.push(job.delivery.clone(), recipient, async move {
            let tracing = &lane.shared.tracing;
            let mut span = tracing.start("send command", SpanKind::Consumer, job.traceparent());
            let ending = lane.work(&job, turn).await;
            if ending != Completion::Done {
                span.set_error("not_settled");
            }
            ending
        });
    }

    /// Spawns the task. A panic ends the attempt of one command, and not the lane.
    fn push(
        &mut self,
        delivery: Delivery,
        recipient: String,
        work: impl Future<Output = Completion> + Send + 'static,
    ) {
        let lane = self.lane.clone();
        self.running.spawn(async move {
            let count = || {
                lane.shared.metrics.panicked.inc();
            };
            // The ledger shows whether it may have been sent.
            let give_up =
                || async { reject::until_stored(&lane, &delivery, &command::panicked(&delivery)).await };
            let ending = panics::survived(delivery.attempt, count, work, give_up).await;
            Finished { sequence: delivery.sequence, recipient, ending }
        });
    }

    /// Answers commands that expired while the lane held them. They are not sent, so they keep no recipient busy.
    fn answer_late(&mut self) {
        let now = Timestamp::now();
        for (_, job) in self.held.drain_expired(|job| now >= job.deadline) {
            self.begin(String::new(), job, Turn::Answer);
        }
    }

    /// Fetches as many commands as can be started soon.
    async fn fetch(&mut self) -> Result<(), PullError> {
        let rate = f64::from(self.lane.account.details.sends_per_second);
        // A failing account needs only a few commands, as probes.
        let ahead_max = if self.lane.gate.is_broken() { PREFETCH_MIN } else { PREFETCH_MAX };
        let ahead = ((rate * PREFETCH.as_secs_f64()) as usize).clamp(PREFETCH_MIN, ahead_max);
        let is_closed = !self.lane.gate.may_fetch(Instant::now());
        for queue in Priority::ALL {
            let wanted = match self.awaiting_redelivery {
                Some(_) if self.held_bytes > HELD_BYTES_MAX => 0,
                Some((left, _)) => usize::try_from(left).unwrap_or(0).min(LANE_MAX_ACK_PENDING),
                None if is_closed || self.running.len() >= IN_PROGRESS_MAX => 0,
                None if self.is_full(queue) => 0,
                None => ahead.saturating_sub(self.held.ready(queue)),
            };
            let asked = self.reader.requested(queue);
            // A few large requests instead of one for each command.
            if wanted > asked && (asked == 0 || wanted - asked > ahead / 2) {
                self.reader.request(queue, wanted - asked).await?;
            }
        }
        Ok(())
    }

    /// Whether the lane holds the maximum number of commands of a queue.
    fn is_full(&self, queue: Priority) -> bool {
        self.held_bytes > HELD_BYTES_MAX || self.held.waiting(queue) >= WAITING_MAX
    }

    async fn extend_acks(&mut self) {
        if !self.lane.ownership.is_valid() {
            // Another replica may own the lane. Extending the acks would delay its work.
            return;
        }
        for hold in self.holds.values() {
            hold.claim.in_progress().await;
        }
    }

    /// Checks what keeps the lane from sending, and reports it.
    async fn refresh(&mut self) {
        self.answer_late();
        if let Some((_, since)) = self.awaiting_redelivery {
            self.await_redelivery(since).await;
        }
        let waiting = *self.waiting.borrow();
        let halted = if *self.is_paused.borrow() {
            "paused by an operator".to_owned()
        } else if waiting.is_unreadable {
            "its durables are missing: run `imchannel channel apply` or `streams apply`".to_owned()
        } else if !self.lane.shared.bus.is_ledger_intact() {
            "the ledger of sends may have lost entries: see /ready, and run `imchannel streams repair`"
                .to_owned()
        } else if self.lane.shared.bus.is_ledger_full() {
            "the ledger of sends is full".to_owned()
        } else if let Err(fault) = self.lane.account.authorization().await {
            format!("no key: {fault}")
        } else {
            String::new()
        };
        if self.lane.gate.halt(&halted) {
            self.log_halt(&halted);
        }
        self.lane.shared.faults.set(&self.lane.account.channel, waiting.is_unreadable);
        self.report(waiting);
    }

    fn log_halt(&self, halted: &str) {
        let channel = self.lane.account.channel.as_str();
        if halted.is_empty() {
            tracing::info!(function = "sender", channel, "the lane of channel {channel} sends again");
        } else {
            tracing::warn!(function = "sender", channel, "the lane of channel {channel} is halted: {halted}");
        }
    }

    /// Waits until the former owner's commands in flight are redelivered. No later command is started before that.
    async fn await_redelivery(&mut self, since: Instant) {
        if since.elapsed() > REDELIVERY_WAIT_MAX {
            self.awaiting_redelivery = None;
            return;
        }
        let mut given = 0;
        for queue in Priority::ALL {
            let count = command_consumers::lag(&self.lane.shared.bus, queue, &self.lane.account.channel);
            match tokio::time::timeout(COUNT_LIMIT, count).await {
                Ok(Ok(found)) => given += found.unwrap_or_default().num_ack_pending,
                // Without an answer the number is unknown.
                Ok(Err(_)) | Err(_) => return,
            }
        }
        let missing = given.saturating_sub(self.holds.len() as u64);
        self.awaiting_redelivery = if missing == 0 { None } else { Some((missing, since)) };
    }

    /// Finishes the commands in progress and naks the rest, in order.
    async fn shut_down(mut self) {
        let mut keeping = interval(ACK_EXTEND_INTERVAL);
        while !self.running.is_empty() {
            tokio::select! {
                Some(finished) = self.running.join_next() => {
                    if let Ok(finished) = finished {
                        self.finish(finished).await;
                    }
                }
                _ = keeping.tick() => self.extend_acks().await,
            }
        }
        // Pending requests are closed first. Otherwise the server would deliver the nakked commands to this lane again.
        let unread = self.reader.close().await;
        if !self.lane.ownership.is_valid() {
            // The next owner has them, or gets them soon.
            return;
        }
        let mut claims: Vec<_> =
            self.holds.into_iter().map(|(sequence, hold)| (sequence, hold.claim)).collect();
        claims.extend(unread.into_iter().map(|taken| (taken.delivery.sequence, taken.claim)));
        claims.sort_by_key(|(sequence, _)| *sequence);
        for (_, claim) in claims {
            claim.nak().await;
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    if let Some(at) = at {
        tokio::time::sleep_until(at).await;
    }
}
