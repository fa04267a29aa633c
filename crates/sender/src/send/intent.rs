//! Writing to the ledger: intents before calls, outcomes after them, each only over the state that was known.

use std::time::Duration;

use bus::ledger::{LedgerError, LedgerKey, Revision};
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Ending, Known, Lane, RETRY_PAUSE, Stage, token};
use crate::command::Job;
use crate::record::{Record, State};

/// For one write to the ledger.
const LEDGER_LIMIT: Duration = Duration::from_secs(3);
/// For the outcome of a call, which nobody else knows, while the bus is away.
const DECIDED_LIMIT: Duration = Duration::from_secs(60);

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
    pub(super) at: Instant,
    pub(super) at_ms: i64,
}

impl Lane {
    /// Writes the intent of a call, provided that the ledger is as it was known.
    pub(super) async fn write_intent(
        &self,
        job: &Job,
        key: &LedgerKey,
        known: Known,
    ) -> Result<Intent, Stage> {
        let (at, at_ms) = (Instant::now(), Timestamp::now().as_millisecond());
        // An intent that stands already is that of a call whose outcome stayed unknown: this call repeats it.
        let (unknown_since_ms, is_resent) =
            known.unknown().map_or((at_ms, false), |(since, _)| (since, true));
        let state = State::Intent { at_ms, unknown_since_ms, is_resent };
        let record =
            Record::new(job.delivery.sequence, job.digest.clone(), known.attempts() + 1, token(), state);
        if self.shared.bus.is_ledger_full() {
            // What room is left is for outcomes.
            return Err(self.later(RETRY_PAUSE).await);
        }
        let known = self.write(key, known.revision, record, Patience::Owner).await?;
        Ok(Intent { known, at, at_ms })
    }

    /// Writes an entry until it is known whether it is written.
    ///
    /// # Errors
    /// Where to go on when it is not.
    pub(super) async fn write(
        &self,
        key: &LedgerKey,
        expected: Revision,
        record: Record,
        patience: Patience,
    ) -> Result<Known, Stage> {
        let began = Instant::now();
        loop {
            let deadline = Instant::now() + LEDGER_LIMIT;
            match self.shared.bus.ledger_write(key, expected, record.to_bytes(), deadline).await {
                Ok(revision) => return Ok(Known { revision, record: Some(record) }),
                Err(LedgerError::Conflict) => {
                    // It may be this very write, whose acknowledgement was lost.
                    match self.shared.bus.ledger_read(key).await {
                        Ok(Some(entry)) => {
                            let found = Record::from_bytes(&entry.value);
                            let is_this = found.as_ref() == Some(&record);
                            let known = Known { revision: entry.revision, record: found };
                            return if is_this { Ok(known) } else { Err(Stage::Read) };
                        }
                        Ok(None) => return Err(Stage::Read),
                        Err(error) => tracing::warn!(function = "sender", "the ledger was not read: {error}"),
                    }
                }
                Err(error) => tracing::warn!(function = "sender", "the ledger was not written: {error}"),
            }
            match patience {
                Patience::Owner if self.pause(RETRY_PAUSE).await => {}
                Patience::Owner => return Err(Stage::End(Ending::Left)),
                Patience::Decided => tokio::time::sleep(RETRY_PAUSE).await,
            }
            if began.elapsed() > DECIDED_LIMIT {
                return Err(self.later(RETRY_PAUSE).await);
            }
        }
    }
}
