//! Writing to the ledger: intents before calls, outcomes after them, each only over the state that was known, and no more of
//! them at once than the ledger acknowledges quickly.

use std::time::Duration;

use bus::PublishError;
use bus::ledger::{LedgerError, LedgerKey, Revision};
use bus::seldom::Seldom;
use jiff::Timestamp;
use tokio::time::Instant;

use super::trials::Trials;
use super::{Ending, INTENT_AGE_MAX, Known, Lane, RETRY_PAUSE, Stage, token};
use crate::command::Job;
use crate::record::{Record, State};
use crate::store_limit::{Place, Urgency, pause_after};

/// Timeout of one ledger write.
const LEDGER_LIMIT: Duration = Duration::from_secs(3);
/// Time for which a write without an ack may still be waiting in the server, while the connection is the same.
const STILL_COMES_LIMIT: Duration = Duration::from_secs(3);
/// Timeout of writing the outcome of a call while the bus is away. Only this process knows it.
const DECIDED_LIMIT: Duration = Duration::from_secs(60);

static NOT_WRITTEN: Seldom = Seldom::new();
static NOT_READ: Seldom = Seldom::new();

/// How long a write to the ledger is tried.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// As long as this process owns the lane: what it wants to do, the next owner can do.
    Owner,
    /// Longer: only this process knows what the BSP answered.
    Decided,
}

/// An intent that is written.
pub(super) struct Intent {
    pub(super) known: Known,
    /// When it was written, which is where the time of its call begins.
    pub(super) at: Instant,
    at_ms: i64,
    /// When it was last certain that it stands. Not before `at`.
    stood: Moment,
}

/// A moment by both clocks: a suspended machine stops one of them.
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

/// What a look at an entry shows of a write whose acknowledgement did not come.
enum ReadBack {
    /// It is written.
    Written(Known),
    /// It is not, or not yet.
    Missing,
    /// Somebody else has written.
    Other,
    /// The ledger did not answer.
    Unread,
}

impl Lane {
    /// Writes the intent of a call, provided that the ledger is as it was known.
    pub(super) async fn write_intent(
        &self,
        job: &Job,
        key: &LedgerKey,
        known: Known,
        trials: &Trials,
    ) -> Result<Intent, Stage> {
        // What room is left in a full ledger is for outcomes. One that has lost entries says nothing of what was sent.
        if self.shared.bus.is_ledger_full() || !self.shared.bus.is_ledger_whole() {
            return Err(self.later(RETRY_PAUSE).await);
        }
        // Before the time of the intent: it does not grow old while it waits for its place.
        let place = tokio::select! {
            place = self.shared.ledger.place(&self.account.channel, Urgency::Begins) => place,
            () = self.closing.cancelled() => return Err(Stage::End(Ending::Left)),
            () = tokio::time::sleep(job.time_left()) => return Err(self.late(known, trials)),
        };
        let stood = Moment::now();
        let Moment { at, at_ms } = stood;
        // An intent that stands already is that of a call whose outcome stayed unknown: this call repeats it.
        let (unknown_since_ms, is_resent) =
            known.unknown().map_or((at_ms, false), |(since, _)| (since, true));
        let state = State::Intent { at_ms, unknown_since_ms, is_resent };
        let record =
            Record::new(job.delivery.sequence, job.digest.clone(), known.attempts() + 1, token(), state);
        let known = self.write_at(&place, key, known.revision, record, Patience::Owner).await?;
        drop(place);
        // The write itself may be what found that the ledger has lost entries, and on a new connection that is not known yet. Only
        // this process knows that no call was made behind the intent: read again, it would be looked up and end as UNKNOWN.
        while !self.shared.bus.is_ledger_whole() {
            if !self.pause(RETRY_PAUSE).await {
                return Err(Stage::End(Ending::Left));
            }
        }
        Ok(Intent { known, at, at_ms, stood })
    }

    /// Whether the call may be made, asked last of all. An intent whose acknowledgement came late is read back first: that
    /// costs no write, and that it stands is then as certain as right after it was written. The call's time counts from the
    /// intent all the same, as that of whoever would look it up does.
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
        intent.stood.is_younger_than(INTENT_AGE_MAX) && self.ownership.holds()
    }

    /// Writes what has become of a command, before new ones are begun, until it is known whether it is written.
    ///
    /// # Errors
    /// Where to go on when it is not.
    pub(super) async fn write_outcome(
        &self,
        key: &LedgerKey,
        expected: Revision,
        record: Record,
    ) -> Result<Known, Stage> {
        let place = tokio::select! {
            place = self.shared.ledger.place(&self.account.channel, Urgency::Ends) => place,
            () = self.left_for(DECIDED_LIMIT) => return Err(Stage::End(Ending::Left)),
        };
        self.write_at(&place, key, expected, record, Patience::Decided).await
    }

    /// Writes an entry until it is known whether it is written. The place is kept until then: what was not acknowledged in
    /// time may still be waiting in the server. It is read back rather than written again.
    async fn write_at(
        &self,
        place: &Place,
        key: &LedgerKey,
        expected: Revision,
        record: Record,
        patience: Patience,
    ) -> Result<Known, Stage> {
        let began = Instant::now();
        while began.elapsed() < DECIDED_LIMIT {
            let written_at = Instant::now();
            let connection = self.shared.bus.connection_number();
            let deadline = written_at + LEDGER_LIMIT;
            let is_conflict =
                match self.shared.bus.ledger_write(key, expected, record.to_bytes(), deadline).await {
                    Ok(revision) => {
                        place.acknowledged(written_at, Instant::now());
                        return Ok(Known { revision, record: Some(record) });
                    }
                    // It may be this very write, whose acknowledgement was lost.
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
                    self.wait(patience, pause_after(looks)).await?;
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
        Err(self.later(RETRY_PAUSE).await)
    }

    /// Waits before another look.
    ///
    /// # Errors
    /// The end, when the lane is left and the next owner can do the same.
    async fn wait(&self, patience: Patience, pause: Duration) -> Result<(), Stage> {
        match patience {
            Patience::Owner if self.pause(pause).await => Ok(()),
            Patience::Owner => Err(Stage::End(Ending::Left)),
            Patience::Decided => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
        }
    }

    /// Looks whether a write is there that was not acknowledged. Its token tells it from all others.
    async fn read_back(&self, key: &LedgerKey, expected: Revision, record: &Record) -> ReadBack {
        let entry = match self.shared.bus.ledger_read(key).await {
            Ok(Some(entry)) => entry,
            Ok(None) if expected == Revision::NONE => return ReadBack::Missing,
            Ok(None) => return ReadBack::Other,
            Err(error) => {
                if let Some(turn) = NOT_READ.turn() {
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
            ReadBack::Written(Known { revision: entry.revision, record: found })
        } else {
            ReadBack::Other
        }
    }

    /// Ends so long after the lane was left.
    pub(super) async fn left_for(&self, time: Duration) {
        self.closing.cancelled().await;
        tokio::time::sleep(time).await;
    }
}

/// Tells a write that failed, where it is told: the limit hears of a slow ledger, the log of all faults.
fn not_written(place: &Place, error: &LedgerError) {
    if matches!(error, LedgerError::Write(PublishError::TimedOut)) {
        place.timed_out(Instant::now());
    }
    if let Some(turn) = NOT_WRITTEN.turn() {
        let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(function = "sender", "{error}: {reason}{turn}");
    }
}
