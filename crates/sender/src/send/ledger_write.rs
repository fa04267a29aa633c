//! Ledger writes: intents before calls, outcomes after them. Each is written only over the last known entry, and the
//! number of concurrent writes is limited to what the ledger acknowledges quickly.

use std::time::Duration;

use bus::PublishError;
use bus::ledger::{LedgerError, Revision};
use bus::rate_limited_log::RateLimitedLog;
use tokio::time::Instant;

use super::decisions::{ReadBack, Writer, read_back};
use super::stage::{LedgerView, Stage};
use super::{RETRY_PAUSE, Work};
use crate::ledger::record::Record;
use crate::ledger::store_limit::{StorePermit, Urgency, pause_after};

/// Timeout of one ledger write.
const WRITE_TIMEOUT: Duration = Duration::from_secs(3);
/// Time for which a write without an ack may still be waiting in the server, while the connection is the same.
const MAY_STILL_COME: Duration = Duration::from_secs(3);
/// Timeout of writing the outcome of a call while the bus is away. Only this process knows it.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(60);

static NOT_WRITTEN: RateLimitedLog = RateLimitedLog::new();
static NOT_READ: RateLimitedLog = RateLimitedLog::new();

/// A write that replaces the last known entry.
pub(super) struct LedgerWrite {
    /// Revision of the last known entry.
    pub(super) expected: Revision,
    pub(super) record: Record,
    pub(super) writer: Writer,
}

impl Work<'_> {
    /// Writes the outcome of a command, before new commands are begun, until it is known whether it is written.
    ///
    /// # Errors
    /// The next stage if it is not written.
    pub(super) async fn write_outcome(&self, write: LedgerWrite) -> Result<LedgerView, Stage> {
        let lane = self.lane;
        let permit = tokio::select! {
            permit = lane.shared.ledger_limit.permit(&lane.account.channel, Urgency::Ends) => permit,
            () = lane.closed_for(OUTCOME_TIMEOUT) => return Err(Stage::RELEASED),
        };
        self.write(&permit, write).await
    }

    /// Writes an entry until it is known whether it is written, and keeps the permit until then: the server may still
    /// have a write in its queue that was not acknowledged in time. The entry is read back instead of written again.
    ///
    /// # Errors
    /// The next stage if it is not written.
    pub(super) async fn write(&self, permit: &StorePermit, write: LedgerWrite) -> Result<LedgerView, Stage> {
        let (lane, bus) = (self.lane, &self.lane.shared.bus);
        let LedgerWrite { expected, record, writer } = write;
        let began = Instant::now();
        while began.elapsed() < OUTCOME_TIMEOUT && writer.may_write(lane.lease.is_valid()) {
            let written_at = Instant::now();
            let connection = bus.connection_number();
            let deadline = written_at + WRITE_TIMEOUT;
            let is_conflict = match bus.ledger_write(&self.key, expected, record.to_bytes(), deadline).await {
                Ok(revision) => {
                    permit.acknowledged(written_at, Instant::now());
                    return Ok(LedgerView { revision, record: Some(record) });
                }
                // It may be a conflict with this write itself, whose ack was lost.
                Err(LedgerError::Conflict) => true,
                Err(error) => {
                    not_written(permit, &error);
                    false
                }
            };
            let may_still_come =
                || bus.connection_number() == connection && written_at.elapsed() < MAY_STILL_COME;
            let mut reads = 0;
            loop {
                if !is_conflict {
                    reads += 1;
                    self.wait(writer, pause_after(reads)).await?;
                }
                match self.read_back(expected, &record).await {
                    Some(ReadBack::Written(known)) => return Ok(known),
                    Some(ReadBack::Other) => return Err(Stage::Read),
                    Some(ReadBack::Missing) if is_conflict => return Err(Stage::Read),
                    Some(ReadBack::Missing) if may_still_come() => {}
                    Some(ReadBack::Missing) => break,
                    None if began.elapsed() < OUTCOME_TIMEOUT => {}
                    None => break,
                }
            }
        }
        Err(self.retry_later(RETRY_PAUSE).await)
    }

    /// Waits before the next attempt.
    ///
    /// # Errors
    /// The end, if the lane is closed and the next owner can do the same.
    async fn wait(&self, writer: Writer, pause: Duration) -> Result<(), Stage> {
        match writer {
            Writer::Owner if self.lane.pause(pause).await => Ok(()),
            Writer::Owner => Err(Stage::RELEASED),
            Writer::Caller => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
        }
    }

    /// Reads the entry to find out whether an unacknowledged write is there, by its token. `None` if the ledger did not
    /// answer.
    async fn read_back(&self, expected: Revision, record: &Record) -> Option<ReadBack> {
        match self.lane.shared.bus.ledger_read(&self.key).await {
            Ok(found) => Some(read_back(found.as_ref(), expected, record)),
            Err(error) => {
                if let Some(turn) = NOT_READ.next() {
                    tracing::warn!(function = "sender", "{error}{turn}");
                }
                None
            }
        }
    }
}

/// Reports a failed write: a slow ledger to the limit, all errors to the log.
fn not_written(permit: &StorePermit, error: &LedgerError) {
    if matches!(error, LedgerError::Write(PublishError::TimedOut)) {
        permit.timed_out(Instant::now());
    }
    if let Some(turn) = NOT_WRITTEN.next() {
        let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(function = "sender", "{error}: {reason}{turn}");
    }
}
