//! Processes a command, from the lane to its result: intent, call, outcome.
//!
//! Each stage returns the next one as a value. The ledger prevents duplicates: the intent is written before the call if
//! no other process has written, and the outcome is written if the intent is unchanged.

mod after;
mod file;
mod intent;
mod resolve_unknown;
mod stage;
mod trials;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use bus::ledger::LedgerKey;
use bus::rate_limited_log::RateLimitedLog;
use jiff::Timestamp;
use proto::v1::SendResult;
use service::{LogPayloads, SpanTracer};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::account::Account;
use crate::call::{self, CallResult};
use crate::command::PendingCommand;
use crate::dead_letter::{self, DeadLetterReason, DeadLetterRequest, DeadLettered};
use crate::gate::turns::Place;
use crate::gate::{Denied, Permit, Throttle};
use crate::lanes::FailedLanes;
use crate::media_url::FileLink;
use crate::message_log::MessageLog;
use crate::metrics::SenderMetrics;
use crate::open_calls::OpenCalls;
use crate::outcome::{Outcome, ResultContext};
use crate::ownership::LaneLease;
use crate::publish::{self, Owner};
use crate::record::{NextStep, Record, State};
use crate::send::after::Called;
pub(crate) use crate::send::stage::Completion;
use crate::send::stage::{LedgerView, Progress, Stage};
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

static NOT_READ: RateLimitedLog = RateLimitedLog::new();
static UNREADABLE: RateLimitedLog = RateLimitedLog::new();
static WITHHELD: RateLimitedLog = RateLimitedLog::new();
static LETTER_NOT_STORED: RateLimitedLog = RateLimitedLog::new();
static RESULT_NOT_STORED: RateLimitedLog = RateLimitedLog::new();

/// State that all lanes of a replica share.
pub(crate) struct Shared {
    pub(crate) bus: bus::Bus,
    pub(crate) blobs: blob::BlobStore,
    pub(crate) client: reqwest::Client,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<SenderMetrics>,
    pub(crate) lookups: MessageLog,
    pub(crate) faults: FailedLanes,
    pub(crate) tracing: SpanTracer,
    pub(crate) payloads: LogPayloads,
    /// Limit of concurrent ledger writes of all lanes.
    pub(crate) ledger: StoreLimit,
    pub(crate) lettered: DeadLettered,
}

/// Context of one lane, for its commands.
#[derive(Clone)]
pub(crate) struct LaneContext {
    pub(crate) shared: Arc<Shared>,
    pub(crate) account: Arc<Account>,
    pub(crate) gate: Throttle,
    pub(crate) ownership: LaneLease,
    pub(crate) calls: OpenCalls,
    /// Canceled when the lane closes: no new work is begun, and all waits end.
    pub(crate) closing: CancellationToken,
}

impl LaneContext {
    /// Processes a command until its result is stored or the lane is closed.
    pub(crate) async fn work(&self, job: &PendingCommand, turn: Turn) -> Completion {
        let key = LedgerKey::new(&self.account.channel, &job.command.id);
        let mut turn = turn.into_parts();
        let mut progress = Progress { pass: turn.pass.take(), ..Progress::default() };
        // When a call of this process with an unknown outcome ended.
        let mut ended_at = None;
        // A command that is delivered for the first time has no entry. If it has one, writing the intent finds out.
        let mut stage =
            if job.delivery.attempt > 1 { Stage::Read } else { Stage::Attempt(LedgerView::NOTHING) };
        loop {
            // A permit is only for a command that is about to call. Other commands give it back.
            if !matches!(stage, Stage::Attempt(_)) {
                progress.pass = None;
            }
            if stage.is_waiting() {
                progress.in_call = None;
            } else if progress.in_call.is_none() {
                progress.in_call = Some(self.calls.begin(job.delivery.sequence));
            }
            stage = match stage {
                Stage::Read => self.read(job, &key).await,
                // A ledger that has lost entries does not show whether a command was sent, so no result is published.
                Stage::Attempt(_) if !self.shared.bus.is_ledger_intact() => {
                    self.retry_later(RETRY_PAUSE).await
                }
                Stage::Attempt(known) if turn.is_refused => {
                    self.fail_before_call(known, turn::recipient_queue_full())
                }
                Stage::Attempt(known) => {
                    let next = self.attempt(job, &key, known, &mut progress).await;
                    ended_at = matches!(next, Stage::LookUp(_)).then(Instant::now);
                    next
                }
                Stage::LookUp(known) => {
                    self.resolve_while_held(job, known, ended_at, &mut turn.overtaking).await
                }
                Stage::Decide(known, outcome) => self.decide(job, &key, known, &outcome).await,
                Stage::Publish(result) => self.publish(job, &result).await,
                Stage::IdConflict => self.id_conflict(job).await,
                Stage::End(ending) => return ending,
            };
        }
    }

    /// Waits, and returns the stage that reads the ledger again.
    async fn retry_later(&self, wait: Duration) -> Stage {
        if self.pause(wait).await { Stage::Read } else { Stage::End(Completion::Released) }
    }

    /// Reads the ledger entry of a command.
    async fn read(&self, job: &PendingCommand, key: &LedgerKey) -> Stage {
        let place = tokio::select! {
            place = self.shared.ledger.permit(&self.account.channel, Urgency::Begins) => place,
            () = self.closing.cancelled() => return Stage::End(Completion::Released),
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
                if let Some(turn) = NOT_READ.next() {
                    tracing::warn!(function = "sender", "{error}{turn}");
                }
                return self.retry_later(RETRY_PAUSE).await;
            }
        };
        place.acknowledged(began, Instant::now());
        drop(place);
        let Some(entry) = entry else { return Stage::Attempt(LedgerView::NOTHING) };
        let Some(record) = Record::from_bytes(&entry.value) else {
            // Another version wrote it. That version can process it, and this one must not guess.
            if let Some(turn) = UNREADABLE.next() {
                let id = &job.command.id;
                tracing::error!(function = "sender", "cannot read the ledger entry of {id}{turn}");
            }
            return self.retry_later(UNREADABLE_PAUSE).await;
        };
        let revision = entry.revision;
        match record.next(job.delivery.sequence, &job.digest) {
            NextStep::Repeated => {
                self.shared.metrics.repeated.inc();
                Stage::End(Completion::Done)
            }
            NextStep::Other => Stage::IdConflict,
            NextStep::Attempt(record) => Stage::Attempt(LedgerView { revision, record: Some(record) }),
            NextStep::LookUp(record) => Stage::LookUp(LedgerView { revision, record: Some(record) }),
            NextStep::Publish(result) => Stage::Publish(result),
            NextStep::Nothing => Stage::End(Completion::Done),
        }
    }

    /// Makes one call, if the deadline has not passed and the file is available. Its URL is looked up once.
    async fn attempt(
        &self,
        job: &PendingCommand,
        key: &LedgerKey,
        known: LedgerView,
        progress: &mut Progress,
    ) -> Stage {
        if Timestamp::now() >= job.deadline {
            return self.deadline_passed(known, &progress.trials);
        }
        if !self.ownership.is_valid() {
            // A moment later it is known whether the lane is lost.
            return self.retry_later(RETRY_PAUSE).await;
        }
        if progress.link.is_none() {
            let found = self.link(job).await;
            match found {
                Ok(found) => progress.link = Some(found),
                Err(Some(outcome)) => return self.fail_before_call(known, outcome),
                Err(None) => return Stage::End(Completion::Released),
            }
        }
        let Some(permit) = self.acquire_permit(job, progress).await else {
            if self.closing.is_cancelled() {
                return Stage::End(Completion::Released);
            }
            return self.deadline_passed(known, &progress.trials);
        };
        // Not earlier: a command may wait minutes for its permit, and the key may be changed in that time.
        let Ok(authorization) = self.account.authorization().await else {
            return self.retry_later(RETRY_PAUSE).await;
        };
        let Progress { link, trials, in_call, .. } = progress;
        let file = link.iter().flatten().next();
        if let Some(file) = file {
            file.track_fetch(&self.shared.blobs, Timestamp::now()).await;
        }
        let mut intent = match self.write_intent(job, key, known, trials).await {
            Ok(intent) => intent,
            Err(stage) => return stage,
        };
        if !self.may_call(key, &mut intent).await {
            return self.abort_call(job, key, intent.known).await;
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
            matches!(end, CallResult::Limited { .. } | CallResult::Refused { .. } | CallResult::NotConnected);
        if is_unsent {
            // It is waiting again, also while this is written to the ledger.
            *in_call = None;
        }
        let called = Called { job, key, known: intent.known, end };
        let stage = self.after_call(called, permit, trials).await;
        let is_refused =
            matches!(&stage, Stage::Decide(_, outcome) if matches!(**outcome, Outcome::Rejected { .. }));
        if let Some(file) = file
            && (is_unsent || is_refused)
        {
            file.untrack_fetch(&self.shared.blobs).await;
        }
        stage
    }

    /// Makes no call after an intent that is too old or was overwritten, and writes that to the ledger.
    async fn abort_call(&self, job: &PendingCommand, key: &LedgerKey, known: LedgerView) -> Stage {
        self.shared.metrics.withheld.inc();
        if let Some(turn) = WITHHELD.next() {
            let id = &job.command.id;
            tracing::warn!(
                function = "sender",
                "the call for {id} was aborted: too much time passed since its intent was written, or the lane was lost{turn}"
            );
        }
        self.not_sent(job, key, known, Duration::ZERO).await
    }

    /// Waits for a permit for the next call. Returns `None` if the deadline passes first or the lane is closed.
    async fn acquire_permit(&self, job: &PendingCommand, progress: &mut Progress) -> Option<Permit> {
        if let Some(pass) = progress.pass.take().filter(|pass| pass.is_fresh(Instant::now())) {
            return Some(pass);
        }
        let place = Place { last_call: progress.trials.last_call(), sequence: job.delivery.sequence };
        let line = self.gate.wait_for_turn(place);
        while Timestamp::now() < job.deadline {
            let now = Instant::now();
            let (until, spread) = if self.shared.ledger.takes_more(&self.account.channel) {
                match line.try_acquire(now) {
                    Ok(pass) => return Some(pass),
                    Err(Denied::Rate(until) | Denied::Limited(until)) => (until, line.jitter()),
                    // The next probe is for a command in the line, so this one must not be late.
                    Err(Denied::Broken(until)) => (until, Duration::ZERO),
                    Err(Denied::Probing | Denied::Halted) => (now + RETRY_PAUSE, Duration::ZERO),
                }
            } else {
                (now + LEDGER_TURN, line.jitter())
            };
            // The deadline may come before the gate opens.
            if !self.pause((until - now).min(Duration::from_secs(1)) + spread).await {
                return None;
            }
        }
        None
    }

    /// Handles a passed deadline: a command that may have been sent is unknown, any other has expired.
    fn deadline_passed(&self, known: LedgerView, trials: &Trials) -> Stage {
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
    fn fail_before_call(&self, known: LedgerView, outcome: Outcome) -> Stage {
        let outcome = if known.unknown().is_some() { Outcome::Unknown } else { outcome };
        Stage::Decide(known, outcome.into())
    }

    /// Records in the ledger that a call had no effect, so that no look-up is needed, and allows another after `wait`.
    async fn not_sent(
        &self,
        job: &PendingCommand,
        key: &LedgerKey,
        known: LedgerView,
        wait: Duration,
    ) -> Stage {
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
            return Stage::End(Completion::Released);
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
    async fn decide(
        &self,
        job: &PendingCommand,
        key: &LedgerKey,
        known: LedgerView,
        outcome: &Outcome,
    ) -> Stage {
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
    async fn id_conflict(&self, job: &PendingCommand) -> Stage {
        let ResultContext { owner, delivery, command_id, context, .. } = self.subject(job, 0);
        let dead = &DeadLetterReason::ReusedCommandId;
        let content = job.command.content.name();
        let burial = DeadLetterRequest {
            owner,
            delivery,
            dead,
            faults: &[],
            command_id,
            context,
            attempts: 0,
            content,
        };
        match dead_letter::dead_letter(&self.shared, burial).await {
            Ok(()) => Stage::End(Completion::Done),
            Err(error) => {
                if let Some(turn) = LETTER_NOT_STORED.next() {
                    tracing::warn!(
                        function = "sender",
                        "a dead letter or its result was not stored, retrying: {error}{turn}"
                    );
                }
                if self.pause(RETRY_PAUSE).await {
                    Stage::IdConflict
                } else {
                    Stage::End(Completion::Released)
                }
            }
        }
    }

    fn subject<'a>(&'a self, job: &'a PendingCommand, attempts: u32) -> ResultContext<'a> {
        ResultContext {
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
    async fn publish(&self, job: &PendingCommand, result: &SendResult) -> Stage {
        loop {
            let stored = tokio::select! {
                stored = publish::result(&self.shared.bus, self.owner(), result, job.traceparent()) => stored,
                () = self.left_for(RESULT_WAIT_MAX) => return Stage::End(Completion::Released),
            };
            match stored {
                Ok(()) => return Stage::End(Completion::Done),
                Err(error) => {
                    if let Some(turn) = RESULT_NOT_STORED.next() {
                        let id = &job.command.id;
                        tracing::warn!(
                            function = "sender",
                            "the result of {id} was not stored, retrying: {error}{turn}"
                        );
                    }
                }
            }
            if !self.pause(RETRY_PAUSE).await {
                return Stage::End(Completion::Released);
            }
        }
    }
}

/// Returns a random token that identifies one write.
pub(crate) fn token() -> String {
    format!("{:016x}", fastrand::u64(..))
}
