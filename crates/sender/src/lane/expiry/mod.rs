//! The commands of a lane that are still in the stream: how many there are, and which of them expire while the lane is
//! paused, rate limited or behind. This runs beside the worker of the lane and never delays it.
//!
//! It reads each command once and caches its deadline and sequence. The ledger shows which of these commands were sent.

pub(super) mod segment;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use bus::ledger::{Entry, LedgerError, LedgerKey, Revision};
use bus::read::{self, SequenceRange};
use bus::streams::COMMANDS;
use bus::{Priority, Subject, command_consumers, message_store};
use futures_util::StreamExt;
use jiff::Timestamp;
use proto::v1::SendResult;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::command::{self, PendingCommand};
use crate::context::LaneContext;
use crate::lane::expiry::segment::{Delivered, Due, Segment, SegmentRead};
use crate::ledger::command_key::CommandKey;
use crate::ledger::record::{NextStep, Record};
use crate::ledger::token;
use crate::reject;
use crate::result::outcome::{Outcome, ResultContext};
use crate::result::publish;

/// Interval of the checks of a lane's backlog.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time after which a lane that holds less than its stream counts as behind, and its pending commands are read.
const BEHIND_AFTER: Duration = Duration::from_secs(4);
/// Interval of reading new commands.
const READ_INTERVAL: Duration = Duration::from_secs(5);
/// Longest time that one check reads. Expired commands are answered between two checks.
const READ_FOR: Duration = Duration::from_millis(800);
/// Most commands that are read concurrently. Each may have 1 MiB.
const CONCURRENT_READS_MAX: usize = 16;
/// Most commands that one check answers.
const ANSWERS_MAX: usize = 500;
/// Timeout of one ledger write.
const LEDGER_TIMEOUT: Duration = Duration::from_secs(3);

/// State of the commands in the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct WaitingCommands {
    /// Commands that were not delivered to any sender.
    pub(crate) in_stream: u64,
    /// When the oldest of these commands was stored.
    pub(crate) oldest: Option<Timestamp>,
    /// Whether a consumer is missing, so that nothing can be read.
    pub(crate) is_unreadable: bool,
}

/// The bus is unreachable, or refuses to store a message, or the lane may be lost.
#[derive(Debug)]
pub(super) struct Unavailable;

struct Backlog {
    lane: LaneContext,
    /// Deadlines of the commands that were read, earliest first.
    deadlines: BinaryHeap<Reverse<Due>>,
    /// Segments that are still to be read.
    unread: Vec<Segment>,
    /// Sequence up to which the stream was read or split into segments.
    seen_to: u64,
    read_at: Option<Instant>,
    behind_since: Option<Instant>,
}

/// Watches the lane's commands in the stream until the lane is closed, and reports their state.
pub(super) async fn watch(lane: LaneContext, reports: watch::Sender<WaitingCommands>) {
    let closing = lane.closing.clone();
    let mut backlog = Backlog {
        lane,
        deadlines: BinaryHeap::new(),
        unread: Vec::new(),
        seen_to: 0,
        read_at: None,
        behind_since: None,
    };
    let mut ticks = interval(CHECK_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = closing.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            () = closing.cancelled() => return,
            // On the heap, because a lane mostly waits for the next check.
            () = Box::pin(backlog.check(&reports)) => {}
        }
    }
}

impl Backlog {
    async fn check(&mut self, reports: &watch::Sender<WaitingCommands>) {
        let mut waiting = WaitingCommands::default();
        // The worker of the lane answers commands that were delivered to it.
        let mut delivered = Delivered::default();
        for queue in Priority::ALL {
            match command_consumers::lag(&self.lane.shared.bus, queue, &self.lane.account.channel).await {
                Ok(Some(found)) => {
                    waiting.in_stream += found.num_pending;
                    delivered.set(queue, found.delivered_seq);
                    if found.num_pending > 0 {
                        let oldest = self.oldest(queue, found.delivered_seq).await;
                        waiting.oldest = waiting.oldest.into_iter().chain(oldest).min();
                    }
                }
                Ok(None) => waiting.is_unreadable = true,
                // Without an answer the state is unknown.
                Err(_) => return,
            }
        }
        let _ = reports.send_if_modified(|known| std::mem::replace(known, waiting) != waiting);
        if waiting.in_stream == 0 {
            // All commands were delivered to the lane, which watches their deadlines too.
            self.behind_since = None;
            self.deadlines = BinaryHeap::new();
            return;
        }
        let since = *self.behind_since.get_or_insert_with(Instant::now);
        if since.elapsed() < BEHIND_AFTER {
            return;
        }
        if self.read_at.is_none_or(|at| at.elapsed() >= READ_INTERVAL) {
            match self.read_new(delivered).await {
                // The rest is read by the next check, after expired commands were answered.
                Ok(is_complete) => self.read_at = is_complete.then(Instant::now),
                Err(error) => {
                    self.read_at = Some(Instant::now());
                    tracing::debug!(
                        function = "sender",
                        "cannot read the deadlines of a lane's commands: {error}"
                    );
                }
            }
        }
        self.answer_due(delivered).await;
    }

    /// Returns when the first command that was not delivered was stored.
    async fn oldest(&self, queue: Priority, delivered_seq: u64) -> Option<Timestamp> {
        let subject = Subject::Command(queue, self.lane.account.channel.clone()).to_text();
        let next = command_consumers::next_stored(&self.lane.shared.bus, &subject, delivered_seq + 1).await;
        next.ok().flatten().map(|delivery| delivery.stored_at)
    }

    /// Reads the commands that were stored since the last call. Returns whether it has read all of them.
    async fn read_new(&mut self, delivered: Delivered) -> Result<bool, read::ReadError> {
        let SequenceRange { first, last: newest } = read::sequences(&self.lane.shared.bus, &COMMANDS).await?;
        for queue in Priority::ALL {
            let from = first.max(self.seen_to + 1).max(delivered.up_to(queue) + 1);
            self.unread.extend(Segment::cut(queue, from, newest));
        }
        self.seen_to = self.seen_to.max(newest);
        let until = Instant::now() + READ_FOR;
        let pieces = std::mem::take(&mut self.unread).into_iter();
        let lane = &self.lane;
        let reading = pieces.map(|piece| piece.read(lane, delivered, until));
        let mut reading = futures_util::stream::iter(reading).buffer_unordered(CONCURRENT_READS_MAX);
        let mut first_error = None;
        while let Some(SegmentRead { found, rest, error }) = reading.next().await {
            self.deadlines.extend(found.into_iter().map(Reverse));
            self.unread.extend(rest);
            first_error = first_error.or(error);
        }
        first_error.map_or(Ok(self.unread.is_empty()), Err)
    }

    async fn answer_due(&mut self, delivered: Delivered) {
        let mut answered = 0;
        while answered < ANSWERS_MAX {
            let now = Timestamp::now();
            let Some(Reverse(Due { deadline, sequence, queue })) = self.deadlines.peek().copied() else {
                return;
            };
            if deadline > now {
                return;
            }
            if sequence > delivered.up_to(queue) {
                // A result that cannot be stored now is retried first.
                if self.expire(sequence).await.is_err() {
                    return;
                }
                answered += 1;
            }
            self.deadlines.pop();
        }
    }

    /// Answers one command, unless the ledger has an entry for it.
    async fn expire(&self, sequence: u64) -> Result<(), Unavailable> {
        let found =
            message_store::get(&self.lane.shared.bus, &COMMANDS, sequence).await.map_err(|_| Unavailable)?;
        let Some(delivery) = found.map(Arc::new) else { return Ok(()) };
        match command::read(&self.lane.account.channel, &delivery) {
            Ok(job) => answer(&self.lane, &job, &Outcome::Expired { last_error: None }).await,
            Err(unsendable) => {
                reject::once(&self.lane, &delivery, &unsendable).await.map_err(|_| Unavailable)
            }
        }
    }
}

/// Answers a command of the stream without a call: writes the ledger entry with the result first, then publishes the result, then
/// marks the entry as answered. So the command is not answered again when the stream delivers it. If the ledger has an entry of
/// it, nothing is done, unless the entry is of an earlier check that could not publish its result.
///
/// # Errors
/// [`Unavailable`]. A retry has no side effects.
pub(super) async fn answer(
    lane: &LaneContext,
    job: &PendingCommand,
    outcome: &Outcome,
) -> Result<(), Unavailable> {
    let (bus, account) = (&lane.shared.bus, &lane.account);
    let key = LedgerKey::new(&account.channel, &job.command.id);
    let result = result_of(lane, job, outcome);
    let record = Record::new(job.delivery.sequence, job.digest.clone(), token());
    let deadline = || Instant::now() + LEDGER_TIMEOUT;
    let command = job.key(&account.channel);
    let mut owed = record.clone().decided(&result);
    if bus.is_ledger_compact() {
        owed = owed.compacted(command.identity);
    }
    if !lane.lease.is_valid() {
        // This process may have been suspended for longer than the ledger keeps the entry of another one.
        return Err(Unavailable);
    }
    let (revision, result) = match bus.ledger_write(&key, Revision::NONE, owed.to_bytes(), deadline()).await {
        Ok(revision) => (revision, Box::new(result)),
        Err(LedgerError::Conflict) => {
            let entry = bus.ledger_read(&key).await.map_err(|_| Unavailable)?.ok_or(Unavailable)?;
            let Some(result) = owed_result(&entry, command) else { return Ok(()) };
            (entry.revision, result)
        }
        Err(_) => return Err(Unavailable),
    };
    let owner = lane.owner();
    publish::result(bus, owner, &result, job.traceparent()).await.map_err(|_| Unavailable)?;
    lane.shared.metrics.result(owner, job.command.content.name(), outcome.name());
    let answered = record.answered();
    let _ = bus.ledger_write(&key, revision, answered.to_bytes(), deadline()).await;
    Ok(())
}

/// Returns the result that an earlier check wrote to the ledger and could not publish. `None` if a lane works on the command, or
/// has done so.
pub fn owed_result(entry: &Entry, command: CommandKey<'_>) -> Option<Box<SendResult>> {
    match Record::from_bytes(&entry.value)?.next(command.sequence, command.digest) {
        NextStep::Publish(owed) if owed.attempts == 0 => Some(owed.of(command.identity)),
        _ => None,
    }
}

fn result_of(lane: &LaneContext, job: &PendingCommand, outcome: &Outcome) -> SendResult {
    let subject = ResultContext {
        owner: lane.owner(),
        delivery: &job.delivery,
        command_id: job.command.id.as_str(),
        context: &job.command.context,
        attempts: 0,
    };
    outcome.to_result(subject, Timestamp::now())
}
