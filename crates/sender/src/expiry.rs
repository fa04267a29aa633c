//! The commands of a lane that are still in the stream: how many there are, and which of them expire while the lane is
//! paused, rate limited or behind. This runs beside the loop of the lane and never delays it.
//!
//! It reads each command once and caches its deadline and sequence. The ledger shows which of these commands were sent.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bus::ledger::{LedgerError, LedgerKey, Revision};
use bus::read;
use bus::streams::COMMANDS;
use bus::{Delivery, Priority, Subject as BusSubject, command_consumers, message_store};
use futures_util::StreamExt;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::command::{self, PendingCommand};
use crate::outcome::{Outcome, ResultContext};
use crate::publish;
use crate::record::{NextStep, Record, State};
use crate::reject;
use crate::send::{LaneContext, token};

/// Interval of the checks of a lane's backlog.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time after which a lane that holds less than its stream counts as behind, and its pending commands are read.
const BEHIND_AFTER: Duration = Duration::from_secs(4);
/// Interval of reading new commands.
const READ_EVERY: Duration = Duration::from_secs(5);
/// Longest time that one check reads. Expired commands are answered between two checks.
const READ_FOR: Duration = Duration::from_millis(800);
/// Most commands that are read concurrently. Each may have 1 MiB.
const READS_AT_ONCE: usize = 16;
/// Most segments of one size that a range is split into. More than are read concurrently, because some contain fewer
/// commands.
const PIECES_MAX: u64 = 128;
/// Shortest segment, in sequences.
const PIECE_MIN: u64 = 64;
/// Most commands that one check answers.
const AT_ONCE: usize = 500;
/// Timeout of one ledger write.
const LEDGER_LIMIT: Duration = Duration::from_secs(3);

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

/// The bus is unreachable, or refuses to store a message.
struct Unavailable;

/// A command's deadline, its sequence and its queue.
type Due = (Timestamp, u64, Priority);

/// A segment of the stream that is to be read for the commands of one queue. Several are read concurrently, because
/// each command takes a separate request.
struct Segment {
    queue: Priority,
    next: u64,
    end: u64,
}

impl Segment {
    /// Splits the range from `from` to `end` into segments.
    fn cut(queue: Priority, from: u64, end: u64) -> impl Iterator<Item = Self> {
        let count = (end + 1).saturating_sub(from);
        let size = count.div_ceil(PIECES_MAX).max(PIECE_MIN);
        (0..count.div_ceil(size)).map(move |place| {
            let next = from + place * size;
            Self { queue, next, end: end.min(next + size - 1) }
        })
    }

    /// Reads the segment until the time is up. Returns what was found, the rest of the segment, and the error that
    /// stopped it.
    async fn read(
        mut self,
        lane: &LaneContext,
        given_to: [u64; 2],
        until: Instant,
    ) -> (Vec<Due>, Option<Self>, Option<read::ReadError>) {
        let channel = &lane.account.channel;
        let subject = BusSubject::Command(self.queue, channel.clone()).to_text();
        let mut found = Vec::new();
        loop {
            self.next = self.next.max(given_to[self.queue as usize] + 1);
            if self.next > self.end {
                return (found, None, None);
            }
            if Instant::now() >= until {
                return (found, Some(self), None);
            }
            match command_consumers::next_stored(&lane.shared.bus, &subject, self.next).await {
                Ok(Some(delivery)) if delivery.sequence <= self.end => {
                    let deadline = match command::read(channel, &delivery) {
                        Ok(job) => job.deadline,
                        Err(_) => command::last_deadline(&delivery),
                    };
                    found.push((deadline, delivery.sequence, self.queue));
                    self.next = delivery.sequence + 1;
                }
                Ok(_) => return (found, None, None),
                Err(error) => return (found, Some(self), Some(error)),
            }
        }
    }
}

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
pub(crate) async fn watch(lane: LaneContext, waiting: watch::Sender<WaitingCommands>) {
    let closing = lane.closing.clone();
    let mut backlog = Backlog {
        lane,
        deadlines: BinaryHeap::new(),
        unread: Vec::new(),
        seen_to: 0,
        read_at: None,
        behind_since: None,
    };
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = closing.cancelled() => return,
            _ = ticks.tick() => {}
        }
        tokio::select! {
            () = closing.cancelled() => return,
            () = backlog.look(&waiting) => {}
        }
    }
}

impl Backlog {
    async fn look(&mut self, told: &watch::Sender<WaitingCommands>) {
        let mut waiting = WaitingCommands::default();
        // The loop of the lane answers commands that were delivered to it.
        let mut given_to = [0; 2];
        for queue in Priority::ALL {
            match command_consumers::lag(&self.lane.shared.bus, queue, &self.lane.account.channel).await {
                Ok(Some(found)) => {
                    waiting.in_stream += found.num_pending;
                    given_to[queue as usize] = found.delivered_seq;
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
        let _ = told.send_if_modified(|known| std::mem::replace(known, waiting) != waiting);
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
        if self.read_at.is_none_or(|at| at.elapsed() >= READ_EVERY) {
            match self.read_new(given_to).await {
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
        self.answer_due(given_to).await;
    }

    /// Returns when the first command that was not delivered was stored.
    async fn oldest(&self, queue: Priority, given_to: u64) -> Option<Timestamp> {
        let subject = BusSubject::Command(queue, self.lane.account.channel.clone()).to_text();
        let next = command_consumers::next_stored(&self.lane.shared.bus, &subject, given_to + 1).await;
        next.ok().flatten().map(|delivery| delivery.stored_at)
    }

    /// Reads the commands that were stored since the last call. Returns whether it has read all of them.
    async fn read_new(&mut self, given_to: [u64; 2]) -> Result<bool, read::ReadError> {
        let (first, newest) = read::sequences(&self.lane.shared.bus, &COMMANDS).await?;
        for queue in Priority::ALL {
            let from = first.max(self.seen_to + 1).max(given_to[queue as usize] + 1);
            self.unread.extend(Segment::cut(queue, from, newest));
        }
        self.seen_to = self.seen_to.max(newest);
        let until = Instant::now() + READ_FOR;
        let pieces = std::mem::take(&mut self.unread).into_iter();
        let lane = &self.lane;
        let reading = pieces.map(|piece| piece.read(lane, given_to, until));
        let mut reading = futures_util::stream::iter(reading).buffer_unordered(READS_AT_ONCE);
        let mut fault = None;
        while let Some((found, left, failed)) = reading.next().await {
            self.deadlines.extend(found.into_iter().map(Reverse));
            self.unread.extend(left);
            fault = fault.or(failed);
        }
        fault.map_or(Ok(self.unread.is_empty()), Err)
    }

    async fn answer_due(&mut self, given_to: [u64; 2]) {
        let mut answered = 0;
        while answered < AT_ONCE {
            let now = Timestamp::now();
            let Some(Reverse((deadline, sequence, queue))) = self.deadlines.peek().copied() else { return };
            if deadline > now {
                return;
            }
            if sequence > given_to[queue as usize] {
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
        let Some(delivery) = found else { return Ok(()) };
        match command::read(&self.lane.account.channel, &delivery) {
            Ok(job) => self.answer(&job, &delivery).await,
            Err(unsendable) => {
                reject::once(&self.lane, &delivery, &unsendable).await.map_err(|_| Unavailable)
            }
        }
    }

    /// Writes the ledger entry with the result first, then publishes the result, then marks the entry as answered. So
    /// the command is not answered again when the stream delivers it.
    async fn answer(&self, job: &PendingCommand, delivery: &Delivery) -> Result<(), Unavailable> {
        let (bus, account) = (&self.lane.shared.bus, &self.lane.account);
        let key = LedgerKey::new(&account.channel, &job.command.id);
        let result = expired(&self.lane, job);
        let record = Record::new(delivery.sequence, job.digest.clone(), 0, token(), State::NotSent);
        let deadline = || Instant::now() + LEDGER_LIMIT;
        let owed = record.clone().done(&result, false);
        let (revision, result) =
            match bus.ledger_write(&key, Revision::NONE, owed.to_bytes(), deadline()).await {
                Ok(revision) => (revision, Box::new(result)),
                Err(LedgerError::Conflict) => {
                    let entry = bus.ledger_read(&key).await.map_err(|_| Unavailable)?.ok_or(Unavailable)?;
                    let found = Record::from_bytes(&entry.value);
                    match found.map(|found| found.next(delivery.sequence, &job.digest)) {
                        // An earlier check wrote the entry and could not publish the result.
                        Some(NextStep::Publish(result)) if result.attempts == 0 => (entry.revision, result),
                        // A lane works on it, or has done so.
                        _ => return Ok(()),
                    }
                }
                Err(_) => return Err(Unavailable),
            };
        let owner = self.lane.owner();
        publish::result(bus, owner, &result, job.traceparent()).await.map_err(|_| Unavailable)?;
        let metrics = &self.lane.shared.metrics;
        metrics.result(owner, job.command.content.name(), "expired");
        let answered = record.done(&result, true);
        let _ = bus.ledger_write(&key, revision, answered.to_bytes(), deadline()).await;
        Ok(())
    }
}

fn expired(lane: &LaneContext, job: &PendingCommand) -> proto::v1::SendResult {
    let subject = ResultContext {
        owner: lane.owner(),
        delivery: &job.delivery,
        command_id: job.command.id.as_str(),
        context: &job.command.context,
        attempts: 0,
    };
    Outcome::Expired { last_error: None }.to_result(subject, Timestamp::now())
}
