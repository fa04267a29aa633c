//! Processes a command, from the lane to its result: intent, call, outcome.
//!
//! Each stage returns the next one as a value. The ledger prevents duplicates: the intent is written before the call if
//! no other process has written, and the outcome is written if the intent is unchanged.

mod after;
mod file;
mod intent;
mod look_up;
mod trials;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use bus::ledger::{LedgerKey, Revision};
use bus::seldom::Seldom;
use jiff::Timestamp;
use proto::v1::SendResult;
use service::{LogPayloads, Tracing};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::call::{self, CallEnd};
use crate::calls::{Calls, InCall};
use crate::command::Job;
use crate::dead::{self, Burial, Dead, Lettered};
use crate::gate::turns::Place;
use crate::gate::{Gate, Pass, Shut};
use crate::lanes::LaneFaults;
use crate::link::FileLink;
use crate::lookup::Lookups;
use crate::metrics::SenderMetrics;
use crate::outcome::{Outcome, Subject};
use crate::ownership::Ownership;
use crate::publish::{self, Owner};
use crate::record::{Next, Record, State};
use crate::send::after::Called;
use crate::send::trials::Trials;
pub(crate) use crate::send::turn::{Overtaken, Overtaking, Turn};
use crate::settings::Settings;
use crate::store_limit::{StoreLimit, Urgency};

/// Longest time between writing the intent and the call. Later the call is aborted: a process that was suspended in
/// between no longer knows who else has read the intent.
const INTENT_AGE_MAX: Duration = Duration::from_secs(2);
/// Delay before an operation that the bus or Redis failed is retried.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Interval of reading a ledger entry that another version has written.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(30);
/// Delay before a permit is requested again while new intents wait for the ledger.
const LEDGER_TURN: Duration = Duration::from_millis(20);
/// Time after a lane was left for which its results may still wait to be stored.
const RESULT_WAIT_MAX: Duration = Duration::from_secs(5);

static NOT_READ: Seldom = Seldom::new();
static UNREADABLE: Seldom = Seldom::new();
static WITHHELD: Seldom = Seldom::new();
static LETTER_NOT_STORED: Seldom = Seldom::new();
static RESULT_NOT_STORED: Seldom = Seldom::new();

/// State that all lanes of a replica share.
pub(crate) struct Shared {
    pub(crate) bus: bus::Bus,
    pub(crate) blobs: blob::BlobStore,
    pub(crate) client: reqwest::Client,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<SenderMetrics>,
    pub(crate) lookups: Lookups,
    pub(crate) faults: LaneFaults,
    pub(crate) tracing: Tracing,
    pub(crate) payloads: LogPayloads,
    /// Limit of concurrent ledger writes of all lanes.
    pub(crate) ledger: StoreLimit,
    pub(crate) lettered: Lettered,
}

/// Context of one lane, for its commands.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) account: Arc<Account>,
    pub(crate) gate: Gate,
    pub(crate) ownership: Ownership,
    pub(crate) calls: Calls,
    /// Canceled when the lane closes: no new work is begun, and all waits end.
    pub(crate) closing: CancellationToken,
}

/// How this process ended its work on a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The result is stored. The command is acknowledged.
    Settled,
    /// The lane was closed. The next owner continues from the ledger.
    Left,
    /// An internal error stopped the work. The command is redelivered, and the work continues from the ledger.
    Broken,
}

/// The last known ledger entry.
struct Known {
    revision: Revision,
    record: Option<Record>,
}

/// State of a command's processing in this process.
#[derive(Default)]
struct Progress {
    /// The URL of its file, once it was looked up; `Some(None)` for a command without a file.
    link: Option<Option<FileLink>>,
    /// The permit for its next call.
    pass: Option<Pass>,
    trials: Trials,
    /// Held while its message may be on its way.
    in_call: Option<InCall>,
}

/// Stage of a command.
enum Stage {
    /// The ledger must be read.
    Read,
    /// A call may be made.
    Attempt(Known),
    /// A call was or may have been made, and its outcome is unknown.
    LookUp(Known),
    /// It is decided, and the ledger entry does not say so yet.
    Decide(Known, Box<Outcome>),
    /// It is decided in the ledger, and the result must be stored.
    Publish(Box<SendResult>),
    /// Its id was already used for other content.
    Misused,
    End(Ending),
}

impl Known {
    const NOTHING: Self = Self { revision: Revision::NONE, record: None };

    fn attempts(&self) -> u32 {
        self.record.as_ref().map_or(0, |record| record.attempts)
    }

    /// Returns when the first call with an unknown outcome was made, and whether the message was sent again since.
    fn unknown(&self) -> Option<(i64, bool)> {
        match self.record.as_ref()?.state {
            State::Intent { unknown_since_ms, is_resent, .. } => Some((unknown_since_ms, is_resent)),
            State::NotSent | State::Done { .. } => None,
        }
    }
}

impl Stage {
    /// Whether the command is waiting: no call of it is in flight.
    fn waits(&self) -> bool {
        matches!(self, Self::Read | Self::Attempt(_) | Self::Misused)
    }
}

impl Lane {
    /// Processes a command until its result is stored or the lane is closed.
    pub(crate) async fn work(&self, job: &Job, turn: Turn) -> Ending {
        let key = LedgerKey::new(&self.account.channel, &job.command.id);
        let mut turn = turn.into_parts();
        let mut progress = Progress { pass: turn.pass.take(), ..Progress::default() };
        // When a call of this process with an unknown outcome ended.
        let mut ended_at = None;
        // A command that is delivered for the first time has no entry. If it has one, writing the intent finds out.
        let mut stage = if job.delivery.attempt > 1 { Stage::Read } else { Stage::Attempt(Known::NOTHING) };
        loop {
            // A permit is only for a command that is about to call. Other commands give it back.
            if !matches!(stage, Stage::Attempt(_)) {
                progress.pass = None;
            }
            if stage.waits() {
                progress.in_call = None;
            } else if progress.in_call.is_none() {
                progress.in_call = Some(self.calls.begin(job.delivery.sequence));
            }
            stage = match stage {
                Stage::Read => self.read(job, &key).await,
                // A ledger that has lost entries does not show whether a command was sent, so no result is published.
                Stage::Attempt(_) if !self.shared.bus.is_ledger_whole() => self.later(RETRY_PAUSE).await,
                Stage::Attempt(known) if turn.is_refused => self.undo(known, turn::recipient_queue_full()),
                Stage::Attempt(known) => {
                    let next = self.attempt(job, &key, known, &mut progress).await;
                    ended_at = matches!(next, Stage::LookUp(_)).then(Instant::now);
                    next
                }
                Stage::LookUp(known) => {
                    self.look_up_while_held(job, known, ended_at, &mut turn.overtaking).await
                }
                Stage::Decide(known, outcome) => self.decide(job, &key, known, &outcome).await,
                Stage::Publish(result) => self.publish(job, &result).await,
                Stage::Misused => self.misused(job).await,
                Stage::End(ending) => return ending,
            };
        }
    }

    /// Waits, and returns the stage that reads the ledger again.
    async fn later(&self, wait: Duration) -> Stage {
        if self.pause(wait).await { Stage::Read } else { Stage::End(Ending::Left) }
    }

    /// Reads the ledger entry of a command.
    async fn read(&self, job: &Job, key: &LedgerKey) -> Stage {
        let place = tokio::select! {
            place = self.shared.ledger.place(&self.account.channel, Urgency::Begins) => place,
            () = self.closing.cancelled() => return Stage::End(Ending::Left),
        };
        let began = Instant::now();
        let entry = match self.shared.bus.ledger_read(key).await {
            Ok(entry) => entry,
            Err(error) => {
                // An unreachable server does not count as a slow one.
                if self.shared.bus.is_connected() {
                    place.timed_out(Instant::now());
                }
                drop(place);
                if let Some(turn) = NOT_READ.turn() {
                    tracing::warn!(function = "sender", "{error}{turn}");
                }
                return self.later(RETRY_PAUSE).await;
            }
        };
        place.acknowledged(began, Instant::now());
        drop(place);
        let Some(entry) = entry else { return Stage::Attempt(Known::NOTHING) };
        let Some(record) = Record::from_bytes(&entry.value) else {
            // Another version wrote it. That version can process it, and this one must not guess.
            if let Some(turn) = UNREADABLE.turn() {
                let id = &job.command.id;
                tracing::error!(function = "sender", "cannot read the ledger entry of {id}{turn}");
            }
            return self.later(UNREADABLE_PAUSE).await;
        };
        let revision = entry.revision;
        match record.next(job.delivery.sequence, &job.digest) {
            Next::Repeated => {
                self.shared.metrics.repeated.inc();
                Stage::End(Ending::Settled)
            }
            Next::Other => Stage::Misused,
            Next::Attempt(record) => Stage::Attempt(Known { revision, record: Some(record) }),
            Next::LookUp(record) => Stage::LookUp(Known { revision, record: Some(record) }),
            Next::Publish(result) => Stage::Publish(result),
            Next::Nothing => Stage::End(Ending::Settled),
        }
    }

    /// Makes one call, if the deadline has not passed and the file is available. Its URL is looked up once.
    async fn attempt(&self, job: &Job, key: &LedgerKey, known: Known, progress: &mut Progress) -> Stage {
        if Timestamp::now() >= job.deadline {
            return self.late(known, &progress.trials);
        }
        if !self.ownership.holds() {
            // A moment later it is known whether the lane is lost.
            return self.later(RETRY_PAUSE).await;
        }
        if progress.link.is_none() {
            let found = self.link(job).await;
            match found {
                Ok(found) => progress.link = Some(found),
                Err(Some(outcome)) => return self.undo(known, outcome),
                Err(None) => return Stage::End(Ending::Left),
            }
        }
        let Some(leave) = self.leave(job, progress).await else {
            let is_left = self.closing.is_cancelled();
            return if is_left { Stage::End(Ending::Left) } else { self.late(known, &progress.trials) };
        };
        // Not earlier: a command may wait minutes for its permit, and the key may be changed in that time.
        let Ok(authorization) = self.account.authorization().await else {
            return self.later(RETRY_PAUSE).await;
        };
        let Progress { link, trials, in_call, .. } = progress;
        let file = link.iter().flatten().next();
        if let Some(file) = file {
            file.expect_fetch(&self.shared.blobs, Timestamp::now()).await;
        }
        let mut intent = match self.write_intent(job, key, known, trials).await {
            Ok(intent) => intent,
            Err(stage) => return stage,
        };
        if !self.may_call(key, &mut intent).await {
            return self.withhold(job, key, intent.known).await;
        }
        let link = file.map(FileLink::as_link);
        let request = self.account.sending.request(&self.account.settings, &job.command, link);
        let message_id = job.command.id.message_id();
        let deadline = intent.at + self.shared.settings.send_timeout;
        let began = Instant::now();
        let within = (message_id.as_str(), deadline);
        *in_call = Some(self.calls.begin(job.delivery.sequence));
        let end = call::send(
            &self.shared.client,
            &self.account,
            authorization,
            request,
            within,
            self.shared.payloads,
        )
        .await;
        self.shared.metrics.call_time.observe(began.elapsed());
        let is_unsent =
            matches!(end, CallEnd::Limited { .. } | CallEnd::Refused { .. } | CallEnd::NotConnected);
        if is_unsent {
            // It is waiting again, also while this is written to the ledger.
            *in_call = None;
        }
        let called = Called { job, key, known: intent.known, end };
        let stage = self.after_call(called, leave, trials).await;
        let is_refused =
            matches!(&stage, Stage::Decide(_, outcome) if matches!(**outcome, Outcome::Rejected { .. }));
        if let Some(file) = file
            && (is_unsent || is_refused)
        {
            file.expect_nothing(&self.shared.blobs).await;
        }
        stage
    }

    /// Makes no call after an intent that is too old or was overwritten, and writes that to the ledger.
    async fn withhold(&self, job: &Job, key: &LedgerKey, known: Known) -> Stage {
        self.shared.metrics.withheld.inc();
        if let Some(turn) = WITHHELD.turn() {
            let id = &job.command.id;
            tracing::warn!(
                function = "sender",
                "the call for {id} was aborted: too much time passed since its intent was written, or the lane was lost{turn}"
            );
        }
        self.not_sent(job, key, known, Duration::ZERO).await
    }

    /// Waits for a permit for the next call. Returns `None` if the deadline passes first or the lane is closed.
    async fn leave(&self, job: &Job, progress: &mut Progress) -> Option<Pass> {
        if let Some(pass) = progress.pass.take().filter(|pass| pass.is_fresh(Instant::now())) {
            return Some(pass);
        }
        let place = Place { last_call: progress.trials.last_call(), sequence: job.delivery.sequence };
        let line = self.gate.wait_in_line(place);
        while Timestamp::now() < job.deadline {
            let now = Instant::now();
            let (until, spread) = if self.shared.ledger.takes_more(&self.account.channel) {
                match line.pass(now) {
                    Ok(pass) => return Some(pass),
                    Err(Shut::Rate(until) | Shut::Limited(until)) => (until, line.spread()),
                    // The next probe is for a command in the line, so this one must not be late.
                    Err(Shut::Broken(until)) => (until, Duration::ZERO),
                    Err(Shut::Probing | Shut::Halted) => (now + RETRY_PAUSE, Duration::ZERO),
                }
            } else {
                (now + LEDGER_TURN, line.spread())
            };
            // The deadline may come before the gate opens.
            if !self.pause((until - now).min(Duration::from_secs(1)) + spread).await {
                return None;
            }
        }
        None
    }

    /// Handles a passed deadline: a command that may have been sent is unknown, any other has expired.
    fn late(&self, known: Known, trials: &Trials) -> Stage {
        let outcome = match known.unknown() {
            Some(_) => Outcome::Unknown,
            None if known.attempts() > 0 => {
                let last_error = trials.why().unwrap_or("the BSP did not accept it").to_owned();
                Outcome::Expired { last_error: Some(last_error) }
            }
            None => Outcome::Expired { last_error: None },
        };
        Stage::Decide(known, outcome.into())
    }

    /// An error before a call ends the command, unless an earlier call may have sent it: then the error shows nothing.
    fn undo(&self, known: Known, outcome: Outcome) -> Stage {
        let outcome = if known.unknown().is_some() { Outcome::Unknown } else { outcome };
        Stage::Decide(known, outcome.into())
    }

    /// Records in the ledger that a call had no effect, so that no look-up is needed, and allows another after `wait`.
    async fn not_sent(&self, job: &Job, key: &LedgerKey, known: Known, wait: Duration) -> Stage {
        // About a message that may have been sent before, this shows nothing.
        let is_certain = known.unknown().is_some_and(|(_, is_resent)| !is_resent);
        let known = if is_certain {
            let Some(record) = known.record else { return Stage::Read };
            let record = record.not_sent();
            match self.write_outcome(key, known.revision, record).await {
                Ok(known) => known,
                Err(stage) => return stage,
            }
        } else {
            known
        };
        if !self.pause(wait.min(job.time_left())).await {
            return Stage::End(Ending::Left);
        }
        Stage::Attempt(known)
    }

    /// Waits. Returns whether the lane continues.
    pub(crate) async fn pause(&self, wait: Duration) -> bool {
        tokio::select! {
            () = self.closing.cancelled() => false,
            () = tokio::time::sleep(wait) => !self.closing.is_cancelled(),
        }
    }

    /// Writes the decision to the ledger.
    async fn decide(&self, job: &Job, key: &LedgerKey, known: Known, outcome: &Outcome) -> Stage {
        let now = Timestamp::now();
        let result = outcome.to_result(self.subject(job, known.attempts()), now);
        let record = known.record.unwrap_or_else(|| {
            Record::new(job.delivery.sequence, job.digest.clone(), 0, token(), State::NotSent)
        });
        let stage = match self.write_outcome(key, known.revision, record.done(&result, false)).await {
            Ok(_) => Stage::Publish(Box::new(result)),
            Err(stage) => return stage,
        };
        self.shared.metrics.result(
            Owner::Channel(self.account.bsp, &self.account.channel),
            job.command.content.name(),
            outcome.name(),
        );
        if matches!(outcome, Outcome::Accepted { .. }) {
            let age = Duration::try_from(now.duration_since(job.delivery.stored_at)).unwrap_or_default();
            self.shared.metrics.accept_time.observe(age);
        }
        stage
    }

    /// Handles an id that was used for another message: the command becomes a dead letter, its result has no id.
    async fn misused(&self, job: &Job) -> Stage {
        let Subject { owner, delivery, command_id, context, .. } = self.subject(job, 0);
        let dead = &Dead::ReusedCommandId;
        let content = job.command.content.name();
        let burial = Burial { owner, delivery, dead, faults: &[], command_id, context, attempts: 0, content };
        match dead::bury(&self.shared, burial).await {
            Ok(()) => Stage::End(Ending::Settled),
            Err(error) => {
                if let Some(turn) = LETTER_NOT_STORED.turn() {
                    tracing::warn!(
                        function = "sender",
                        "a dead letter or its result was not stored, retrying: {error}{turn}"
                    );
                }
                if self.pause(RETRY_PAUSE).await { Stage::Misused } else { Stage::End(Ending::Left) }
            }
        }
    }

    fn subject<'a>(&'a self, job: &'a Job, attempts: u32) -> Subject<'a> {
        Subject {
            owner: self.owner(),
            delivery: &job.delivery,
            command_id: job.command.id.as_str(),
            context: &job.command.context,
            attempts,
        }
    }

    pub(crate) fn owner(&self) -> Owner<'_> {
        Owner::Channel(self.account.bsp, &self.account.channel)
    }

    /// Stores the result. The ledger has it, so it is not lost if the lane closes before it is stored.
    async fn publish(&self, job: &Job, result: &SendResult) -> Stage {
        loop {
            let stored = tokio::select! {
                stored = publish::result(&self.shared.bus, self.owner(), result, job.traceparent()) => stored,
                () = self.left_for(RESULT_WAIT_MAX) => return Stage::End(Ending::Left),
            };
            match stored {
                Ok(()) => return Stage::End(Ending::Settled),
                Err(error) => {
                    if let Some(turn) = RESULT_NOT_STORED.turn() {
                        let id = &job.command.id;
                        tracing::warn!(
                            function = "sender",
                            "the result of {id} was not stored, retrying: {error}{turn}"
                        );
                    }
                }
            }
            if !self.pause(RETRY_PAUSE).await {
                return Stage::End(Ending::Left);
            }
        }
    }
}

/// Returns a random token that identifies one write.
pub(crate) fn token() -> String {
    format!("{:016x}", fastrand::u64(..))
}
