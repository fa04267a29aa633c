//! The life of a command, from the lane to its result: intent, call, outcome.
//!
//! Each stage leads to the next and says so by its value. What must not happen twice, the ledger forbids: the intent is
//! written before the call under the condition that nobody else has written, and the outcome under the condition that
//! the intent still stands.

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
/// Delay before what the bus or Redis failed to do is tried again.
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

/// What all lanes of a replica share.
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
    /// What all lanes together may write to the ledger at once.
    pub(crate) ledger: StoreLimit,
    pub(crate) lettered: Lettered,
}

/// One lane, as its commands see it.
#[derive(Clone)]
pub(crate) struct Lane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) account: Arc<Account>,
    pub(crate) gate: Gate,
    pub(crate) ownership: Ownership,
    pub(crate) calls: Calls,
    /// Cancelled when the lane is to be left: nothing new is begun, and nothing waits on.
    pub(crate) closing: CancellationToken,
}

/// How a command's work in this process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Its result is stored: it is acknowledged.
    Settled,
    /// The lane was left: the next owner goes on from the ledger.
    Left,
    /// The work broke down by a fault of ours: the command comes again and goes on from the ledger.
    Broken,
}

/// What the ledger is known to hold.
struct Known {
    revision: Revision,
    record: Option<Record>,
}

/// What a command's work in this process has found and met with so far.
#[derive(Default)]
struct Progress {
    /// Where its file lies, once that was looked for; `Some(None)` for a command without one.
    link: Option<Option<FileLink>>,
    /// The leave for its next call.
    pass: Option<Pass>,
    trials: Trials,
    /// Kept while its message may be on its way.
    in_call: Option<InCall>,
}

/// Where a command is.
enum Stage {
    /// The ledger has to be asked.
    Read,
    /// A call may be made.
    Attempt(Known),
    /// A call was or may have been made, and its outcome is not known.
    LookUp(Known),
    /// It is decided, and the ledger does not know yet.
    Decide(Known, Box<Outcome>),
    /// The ledger knows, and the result has to be stored.
    Publish(Box<SendResult>),
    /// It was published twice with another content.
    Misused,
    End(Ending),
}

impl Known {
    const NOTHING: Self = Self { revision: Revision::NONE, record: None };

    fn attempts(&self) -> u32 {
        self.record.as_ref().map_or(0, |record| record.attempts)
    }

    /// When the first call was made whose outcome is not known, and whether the message was sent anew since.
    fn unknown(&self) -> Option<(i64, bool)> {
        match self.record.as_ref()?.state {
            State::Intent { unknown_since_ms, is_resent, .. } => Some((unknown_since_ms, is_resent)),
            State::NotSent | State::Done { .. } => None,
        }
    }
}

impl Stage {
    /// Whether the command waits: nothing of it is on its way.
    fn waits(&self) -> bool {
        matches!(self, Self::Read | Self::Attempt(_) | Self::Misused)
    }
}

impl Lane {
    /// Works on a command until its result is stored or the lane is left.
    pub(crate) async fn work(&self, job: &Job, turn: Turn) -> Ending {
        let key = LedgerKey::new(&self.account.channel, &job.command.id);
        let mut turn = turn.into_parts();
        let mut progress = Progress { pass: turn.pass.take(), ..Progress::default() };
        // When a call of this process ended whose outcome is not known.
        let mut ended_at = None;
        // What was never delivered before has no entry, and if it has one, writing the intent finds out.
        let mut stage = if job.delivery.attempt > 1 { Stage::Read } else { Stage::Attempt(Known::NOTHING) };
        loop {
            // The leave is for whoever is about to call, and for nobody who waits for something else.
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
                // What a ledger that has lost entries does not know may have been sent: nothing is said of it either.
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

    /// Where a command goes on that can do nothing now: it asks the ledger again after a while.
    async fn later(&self, wait: Duration) -> Stage {
        if self.pause(wait).await { Stage::Read } else { Stage::End(Ending::Left) }
    }

    /// Asks the ledger what is known of a command.
    async fn read(&self, job: &Job, key: &LedgerKey) -> Stage {
        let place = tokio::select! {
            place = self.shared.ledger.place(&self.account.channel, Urgency::Begins) => place,
            () = self.closing.cancelled() => return Stage::End(Ending::Left),
        };
        let began = Instant::now();
        let entry = match self.shared.bus.ledger_read(key).await {
            Ok(entry) => entry,
            Err(error) => {
                // A server that is away is not slow.
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
            // Another version's: it knows what to do with it, and this one must not guess.
            if let Some(turn) = UNREADABLE.turn() {
                tracing::error!(function = "sender", "the entry of {} cannot be read{turn}", job.command.id);
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

    /// Makes one call, if the deadline allows it and the file is there. Its link is found once and kept.
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
        // Not before: a command may wait for its leave for minutes while the account is down, and the key be changed meanwhile.
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
            // It waits again, also while that is written down.
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

    /// Makes no call behind an intent that is too old, or not this process's any more, and writes that down.
    async fn withhold(&self, job: &Job, key: &LedgerKey, known: Known) -> Stage {
        self.shared.metrics.withheld.inc();
        if let Some(turn) = WITHHELD.turn() {
            let id = &job.command.id;
            tracing::warn!(
                function = "sender",
                "the call for {id} was withheld: it would come too late{turn}"
            );
        }
        self.not_sent(job, key, known, Duration::ZERO).await
    }

    /// Leave for the next call; `None` when the deadline passes first or the lane is left.
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
                    // One of those in line is next, and it is not to be late.
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

    /// The deadline has passed: what is not known to be unsent is unknown, the rest expired.
    fn late(&self, known: Known, trials: &Trials) -> Stage {
        let outcome = match known.unknown() {
            Some(_) => Outcome::Unknown,
            None if known.attempts() > 0 => {
                let last_error = trials.why().unwrap_or("the BSP did not take it").to_owned();
                Outcome::Expired { last_error: Some(last_error) }
            }
            None => Outcome::Expired { last_error: None },
        };
        Stage::Decide(known, outcome.into())
    }

    /// What comes before a call ends the command; but of one that may have been sent before, that says nothing.
    fn undo(&self, known: Known, outcome: Outcome) -> Stage {
        let outcome = if known.unknown().is_some() { Outcome::Unknown } else { outcome };
        Stage::Decide(known, outcome.into())
    }

    /// A call did nothing. That is written down, so that nobody has to look it up, and after `wait` another is made.
    async fn not_sent(&self, job: &Job, key: &LedgerKey, known: Known, wait: Duration) -> Stage {
        // Of a message that may have been sent before, this says nothing.
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

    /// Waits; says whether the lane goes on.
    pub(crate) async fn pause(&self, wait: Duration) -> bool {
        tokio::select! {
            () = self.closing.cancelled() => false,
            () = tokio::time::sleep(wait) => !self.closing.is_cancelled(),
        }
    }

    /// Writes the decision down.
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

    /// The id was used for another message, whose result stands under it: this one becomes a dead letter, with a result that
    /// names no id.
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
                        "a dead letter or its result was not stored: {error}{turn}"
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

    /// Stores the result. It is in the ledger, so nothing is lost if the lane is left meanwhile.
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
                            "the result of {id} was not stored: {error}{turn}"
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

/// Tells one write from all others.
pub(crate) fn token() -> String {
    format!("{:016x}", fastrand::u64(..))
}
