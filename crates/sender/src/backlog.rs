//! What waits in the stream behind a lane: how much, and what of it grows too old while its lane is paused, limited or
//! behind. It works beside the loop of the lane, which nothing of this may hold up.
//!
//! The stream is read once, and what is remembered of a command is its deadline and its place. The ledger says which of
//! them were sent after all.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bsp::command::Command;
use bus::ledger::{LedgerError, LedgerKey, Revision};
use bus::read;
use bus::streams::COMMANDS;
use bus::{Delivery, Queue, Subject as BusSubject, lanes, lookup};
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::command::{self, Job};
use crate::outcome::{Outcome, Subject};
use crate::record::{Next, Record, State};
use crate::send::{Lane, token};
use crate::{publish, refuse};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A lane whose stream holds more than it takes for so long is behind, and what waits there is watched.
const BEHIND_AFTER: Duration = Duration::from_secs(4);
/// Between two readings of what is new.
const READ_EVERY: Duration = Duration::from_secs(5);
/// The longest reading of one look. What is due is answered between two.
const READ_FOR: Duration = Duration::from_millis(800);
/// Commands answered in one look.
const AT_ONCE: usize = 500;
/// For one write to the ledger.
const LEDGER_LIMIT: Duration = Duration::from_secs(3);

/// What waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Waiting {
    /// Commands that no sender has been given.
    pub(crate) in_stream: u64,
    /// When the oldest of them was stored.
    pub(crate) oldest: Option<Timestamp>,
    /// Whether a durable is missing: then nothing can be read.
    pub(crate) is_unreadable: bool,
}

/// The bus is away, or does not take what has to be stored.
struct Away;

struct Backlog {
    lane: Lane,
    /// What was read: deadline, sequence and queue, the earliest first.
    deadlines: BinaryHeap<Reverse<(Timestamp, u64, Queue)>>,
    /// The newest message of the stream at the last reading.
    newest: u64,
    /// How far each queue was read.
    read_to: [u64; 2],
    read_at: Option<Instant>,
    behind_since: Option<Instant>,
}

/// Watches what waits until the lane is left, and tells how much it is.
pub(crate) async fn watch(lane: Lane, waiting: watch::Sender<Waiting>) {
    let closing = lane.closing.clone();
    let mut backlog = Backlog {
        lane,
        deadlines: BinaryHeap::new(),
        newest: 0,
        read_to: [0; 2],
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
    async fn look(&mut self, told: &watch::Sender<Waiting>) {
        let mut waiting = Waiting::default();
        // What a lane was given is the lane's to answer.
        let mut given_to = [0; 2];
        for queue in Queue::ALL {
            match lanes::waiting(&self.lane.shared.bus, queue, &self.lane.account.channel).await {
                Ok(Some(found)) => {
                    waiting.in_stream += found.in_stream;
                    given_to[queue as usize] = found.given_to;
                    if found.in_stream > 0 {
                        let oldest = self.oldest(queue, found.given_to).await;
                        waiting.oldest = waiting.oldest.into_iter().chain(oldest).min();
                    }
                }
                Ok(None) => waiting.is_unreadable = true,
                // Without an answer nothing is known.
                Err(_) => return,
            }
        }
        let _ = told.send_if_modified(|known| std::mem::replace(known, waiting) != waiting);
        if waiting.in_stream == 0 {
            // Everything is in the lane's hands, which watches it too.
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
                // What is left is read at the next look, after what is due was answered.
                Ok(is_complete) => self.read_at = is_complete.then(Instant::now),
                Err(error) => {
                    self.read_at = Some(Instant::now());
                    tracing::debug!(function = "sender", "the deadlines of a lane were not read: {error}");
                }
            }
        }
        self.answer_due(given_to).await;
    }

    /// When the first command that nobody was given was stored.
    async fn oldest(&self, queue: Queue, given_to: u64) -> Option<Timestamp> {
        let subject = BusSubject::Command(queue, self.lane.account.channel.clone()).to_text();
        let next = lanes::next_stored(&self.lane.shared.bus, &subject, given_to + 1).await;
        next.ok().flatten().map(|delivery| delivery.stored_at)
    }

    /// Reads what has come since the last time; nothing, where nothing has. Says whether that was all.
    async fn read_new(&mut self, given_to: [u64; 2]) -> Result<bool, read::ReadError> {
        let newest = read::last_sequence(&self.lane.shared.bus, &COMMANDS).await?;
        if newest == self.newest {
            return Ok(true);
        }
        let until = Instant::now() + READ_FOR;
        for queue in Queue::ALL {
            if !self.read(queue, given_to[queue as usize], until).await? {
                return Ok(false);
            }
        }
        self.newest = newest;
        Ok(true)
    }

    async fn read(&mut self, queue: Queue, given_to: u64, until: Instant) -> Result<bool, read::ReadError> {
        let channel = &self.lane.account.channel;
        let subject = BusSubject::Command(queue, channel.clone()).to_text();
        while Instant::now() < until {
            let from = self.read_to[queue as usize].max(given_to) + 1;
            let next = lanes::next_stored(&self.lane.shared.bus, &subject, from).await?;
            let Some(delivery) = next else { return Ok(true) };
            self.read_to[queue as usize] = delivery.sequence;
            let deadline = match command::read(channel, &delivery) {
                Ok(job) => job.deadline,
                Err(_) => command::last_deadline(&delivery),
            };
            self.deadlines.push(Reverse((deadline, delivery.sequence, queue)));
        }
        Ok(false)
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
                // What cannot be stored now stays first.
                if self.expire(sequence).await.is_err() {
                    return;
                }
                answered += 1;
            }
            self.deadlines.pop();
        }
    }

    /// Answers one command, unless the ledger knows it.
    async fn expire(&self, sequence: u64) -> Result<(), Away> {
        let found = lookup::get(&self.lane.shared.bus, &COMMANDS, sequence).await.map_err(|_| Away)?;
        let Some(delivery) = found else { return Ok(()) };
        match command::read(&self.lane.account.channel, &delivery) {
            Ok(job) => self.answer(&job, &delivery).await,
            Err(unsendable) => refuse::once(&self.lane, &delivery, &unsendable).await.map_err(|_| Away),
        }
    }

    /// The entry goes first and says that the result is still owed; then the result; then that it is not owed any more, so
    /// that the command is not answered again when it comes off the stream.
    async fn answer(&self, job: &Job, delivery: &Delivery) -> Result<(), Away> {
        let (bus, account) = (&self.lane.shared.bus, &self.lane.account);
        let key = LedgerKey::new(&account.channel, &job.command.id);
        let result = expired(&self.lane, &job.command);
        let record = Record::new(delivery.sequence, job.digest.clone(), 0, token(), State::NotSent);
        let deadline = || Instant::now() + LEDGER_LIMIT;
        let owed = record.clone().done(&result, false);
        let (revision, result) =
            match bus.ledger_write(&key, Revision::NONE, owed.to_bytes(), deadline()).await {
                Ok(revision) => (revision, Box::new(result)),
                Err(LedgerError::Conflict) => {
                    let entry = bus.ledger_read(&key).await.map_err(|_| Away)?.ok_or(Away)?;
                    let found = Record::from_bytes(&entry.value);
                    match found.map(|found| found.next(delivery.sequence, &job.digest)) {
                        // An earlier sweep could not publish it.
                        Some(Next::Publish(result)) if result.attempts == 0 => (entry.revision, result),
                        // Somebody works on it, or has.
                        _ => return Ok(()),
                    }
                }
                Err(_) => return Err(Away),
            };
        let place = (account.bsp, &account.channel);
        publish::result(bus, place, &result, job.traceparent()).await.map_err(|_| Away)?;
        let metrics = &self.lane.shared.metrics;
        metrics.result(account.bsp, job.command.content.name(), "expired");
        let answered = record.done(&result, true);
        let _ = bus.ledger_write(&key, revision, answered.to_bytes(), deadline()).await;
        Ok(())
    }
}

fn expired(lane: &Lane, command: &Command) -> proto::v1::SendResult {
    let subject = Subject {
        bsp: lane.account.bsp,
        channel: &lane.account.channel,
        command_id: command.id.as_str(),
        message_id: command.id.message_id(),
        context: &command.context,
        attempts: 0,
    };
    Outcome::Expired { last_error: None }.to_result(subject, Timestamp::now())
}
