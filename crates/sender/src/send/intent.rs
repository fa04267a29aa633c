//! Ledger writes: intents before calls, outcomes after them. Each is written only over the last known entry, and the
//! number of concurrent writes is limited to what the ledger acknowledges quickly.

use std::time::Duration;

use bus::PublishError;
use bus::ledger::{LedgerError, LedgerKey, Revision};
use bus::rate_limited_log::RateLimitedLog;
use jiff::Timestamp;
use tokio::time::Instant;

use super::trials::Trials;
use super::{Completion, INTENT_AGE_MAX, LaneContext, LedgerView, RETRY_PAUSE, Stage, token};
use crate::command::PendingCommand;
use crate::record::{Record, State};
use crate::store_limit::{StorePermit, Urgency, pause_after};

/// Timeout of one ledger write.
const LEDGER_LIMIT: Duration = Duration::from_secs(3);
/// Time for which a write without an ack may still be waiting in the server, while the connection is the same.
const STILL_COMES_LIMIT: Duration = Duration::from_secs(3);
/// Timeout of writing the outcome of a call while the bus is away. Only this process knows it.
const DECIDED_LIMIT: Duration = Duration::from_secs(60);

static NOT_WRITTEN: RateLimitedLog = RateLimitedLog::new();
static NOT_READ: RateLimitedLog = RateLimitedLog::new();

/// How long a ledger write is retried.
#[derive(Debug, Clone, Copy)]
pub(super) enum RetryPolicy {
    /// While this process owns the lane: the next owner can do the same.
    WhileOwner,
    /// Longer: only this process has the response of the BSP.
    Persistent,
}

/// A written intent.
pub(super) struct Intent {
    pub(super) known: LedgerView,
    /// When it was written. The deadline of its call counts from here.
    pub(super) at: Instant,
    at_ms: i64,
    /// When it was last certain that the intent is in the ledger. Not before `at`.
    stood: Moment,
}

/// A moment by two clocks, because a suspended machine stops one of them.
#[derive(Debug, Clone, Copy)]
struct Moment {
    at: Instant,
    at_ms: i64,
}

impl Moment {
    fn now() -> Self {
        Self { at: Instant::now(), at_ms: Timestamp::now().as_millisecond() }
    }

    fn is_younger_than(self, age: Duration) -> bool {
        let age_ms = Timestamp::now().as_millisecond() - self.at_ms;
        self.at.elapsed() < age && u128::try_from(age_ms).is_ok_and(|age_ms| age_ms < age.as_millis())
    }
}

/// What reading an entry shows about a write whose ack did not come.
enum ReadBack {
    /// It is written.
    Written(LedgerView),
    /// It is not written, or not yet.
    Missing,
    /// Another process has written.
    Other,
    /// The ledger did not answer.
    Unread,
}

impl LaneContext {
    /// Writes the intent of a call, if the ledger entry is still the known one.
    pub(super) async fn write_intent(
        &self,
        job: &PendingCommand,
        key: &LedgerKey,
        known: LedgerView,
        trials: &Trials,
    ) -> Result<Intent, Stage> {
        // The remaining space of a full ledger is for outcomes. A ledger that has lost entries does not show what was
        // sent.
        if self.shared.bus.is_ledger_full() || !self.shared.bus.is_ledger_intact() {
            return Err(self.retry_later(RETRY_PAUSE).await);
        }
        // Before the time of the intent is taken, so that the intent does not age while it waits for its permit.
        let place = tokio::select! {
            place = self.shared.ledger.permit(&self.account.channel, Urgency::Begins) => place,
            () = self.closing.cancelled() => return Err(Stage::End(Completion::Released)),
            () = tokio::time::sleep(job.time_left()) => return Err(self.deadline_passed(known, trials)),
        };
        let stood = Moment::now();
        let Moment { at, at_ms } = stood;
        // An existing intent belongs to a call with an unknown outcome. This call repeats it.
        let (unknown_since_ms, is_resent) =
            known.unknown().map_or((at_ms, false), |(since, _)| (since, true));
        let state = State::Intent { at_ms, unknown_since_ms, is_resent };
        let record =
            Record::new(job.delivery.sequence, job.digest.clone(), known.attempts() + 1, token(), state);
        let known = self.write_at(&place, key, known.revision, record, RetryPolicy::WhileOwner).await?;
        drop(place);
        // This write may have shown that the ledger has lost entries, which is not known yet on a new connection. Only this
        // process knows that no call followed the intent: another reading of it would look the message up and end as UNKNOWN.
        while !self.shared.bus.is_ledger_intact() {
            if !self.pause(RETRY_PAUSE).await {
                return Err(Stage::End(Completion::Released));
            }
        }
        Ok(Intent { known, at, at_ms, stood })
    }

    /// Whether the call may be made; the last check before it. An intent whose ack came late is read back first. That
    /// needs no write, and makes it as certain as right after the write that the intent is in the ledger. The deadline
    /// of the call still counts from the intent, as it does for a process that would look the message up.
    pub(super) async fn may_call(&self, key: &LedgerKey, intent: &mut Intent) -> bool {
        let written = Moment { at: intent.at, at_ms: intent.at_ms };
        if !intent.stood.is_younger_than(INTENT_AGE_MAX)
            && written.is_younger_than(self.shared.settings.send_timeout / 2)
        {
            let now = Moment::now();
            if let Ok(Some(entry)) = self.shared.bus.ledger_read(key).await
                && entry.revision == intent.known.revision
            {
                intent.stood = now;
            }
        }
        intent.stood.is_younger_than(INTENT_AGE_MAX) && self.ownership.is_valid()
    }

    /// Writes the outcome of a command, before new commands are begun, until it is known whether it is written.
    ///
    /// # Errors
    /// The next stage if it is not written.
    pub(super) async fn write_outcome(
        &self,
        key: &LedgerKey,
        expected: Revision,
        record: Record,
    ) -> Result<LedgerView, Stage> {
        let place = tokio::select! {
            place = self.shared.ledger.permit(&self.account.channel, Urgency::Ends) => place,
            () = self.left_for(DECIDED_LIMIT) => return Err(Stage::End(Completion::Released)),
        };
        self.write_at(&place, key, expected, record, RetryPolicy::Persistent).await
    }

    /// Writes an entry until it is known whether it is written, and keeps the permit until then: the server may still
    /// have a write in its queue that was not acknowledged in time. The entry is read back instead of written again.
    async fn write_at(
        &self,
        place: &StorePermit,
        key: &LedgerKey,
        expected: Revision,
        record: Record,
        retry: RetryPolicy,
    ) -> Result<LedgerView, Stage> {
        let began = Instant::now();
        while began.elapsed() < DECIDED_LIMIT {
            let written_at = Instant::now();
            let connection = self.shared.bus.connection_number();
            let deadline = written_at + LEDGER_LIMIT;
            let is_conflict =
                match self.shared.bus.ledger_write(key, expected, record.to_bytes(), deadline).await {
                    Ok(revision) => {
                        place.acknowledged(written_at, Instant::now());
                        return Ok(LedgerView { revision, record: Some(record) });
                    }
                    // It may be a conflict with this write itself, whose ack was lost.
                    Err(LedgerError::Conflict) => true,
                    Err(error) => {
                        not_written(place, &error);
                        false
                    }
                };
            let may_still_come = || {
                self.shared.bus.connection_number() == connection && written_at.elapsed() < STILL_COMES_LIMIT
            };
            let mut looks = 0;
            loop {
                if !is_conflict {
                    looks += 1;
                    self.wait(retry, pause_after(looks)).await?;
                }
                match self.read_back(key, expected, &record).await {
                    ReadBack::Written(known) => return Ok(known),
                    ReadBack::Other => return Err(Stage::Read),
                    ReadBack::Missing if is_conflict => return Err(Stage::Read),
                    ReadBack::Missing if may_still_come() => {}
                    ReadBack::Missing => break,
                    ReadBack::Unread if began.elapsed() < DECIDED_LIMIT => {}
                    ReadBack::Unread => break,
                }
            }
        }
        Err(self.retry_later(RETRY_PAUSE).await)
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The end, if the lane is closed and the next owner can do the same.
    async fn wait(&self, retry: RetryPolicy, pause: Duration) -> Result<(), Stage> {
        match retry {
            RetryPolicy::WhileOwner if self.pause(pause).await => Ok(()),
            RetryPolicy::WhileOwner => Err(Stage::End(Completion::Released)),
            RetryPolicy::Persistent => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
        }
    }

    /// Reads the entry to find out whether an unacknowledged write is there, by its token.
    async fn read_back(&self, key: &LedgerKey, expected: Revision, record: &Record) -> ReadBack {
        let entry = match self.shared.bus.ledger_read(key).await {
            Ok(Some(entry)) => entry,
            Ok(None) if expected == Revision::NONE => return ReadBack::Missing,
            Ok(None) => return ReadBack::Other,
            Err(error) => {
                if let Some(turn) = NOT_READ.next() {
                    tracing::warn!(function = "sender", "{error}{turn}");
                }
                return ReadBack::Unread;
            }
        };
        if entry.revision == expected {
            return ReadBack::Missing;
        }
        let found = Record::from_bytes(&entry.value);
        if found.as_ref() == Some(record) {
            ReadBack::Written(LedgerView { revision: entry.revision, record: found })
        } else {
            ReadBack::Other
        }
    }

    /// Returns this time after the lane was closed.
    pub(super) async fn left_for(&self, time: Duration) {
        self.closing.cancelled().await;
        tokio::time::sleep(time).await;
    }
}

/// Reports a failed write: a slow ledger to the limit, all errors to the log.
fn not_written(place: &StorePermit, error: &LedgerError) {
    if matches!(error, LedgerError::Write(PublishError::TimedOut)) {
        place.timed_out(Instant::now());
    }
    if let Some(turn) = NOT_WRITTEN.next() {
        let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(function = "sender", "{error}: {reason}{turn}");
    }
}
