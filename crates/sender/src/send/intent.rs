//! Step 3: the intent of the call is written to the ledger, and the last check before the call is made.

use super::RETRY_PAUSE;
use super::attempt::Attempt;
use super::decisions::{Writer, may_call, must_read_back};
use super::ledger_write::LedgerWrite;
use super::stage::Stage;
use crate::ledger::store_limit::Urgency;
use crate::ledger::token;
use crate::moment::Moment;

/// A written intent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intent {
    /// When it was written. The deadline of its call counts from here.
    pub(super) at: Moment,
}

impl Attempt<'_> {
    /// Writes the intent of a call, if the ledger entry is still the known one, which it then replaces.
    ///
    /// # Errors
    /// The next stage, if the intent is not written.
    pub(super) async fn write_intent(&mut self) -> Result<Intent, Stage> {
        let (work, lane, job) = (self.work, self.work.lane, self.work.job);
        let bus = &lane.shared.bus;
        // The remaining space of a full ledger is for outcomes. A ledger that has lost entries does not show what was
        // sent.
        if bus.is_ledger_full() || !bus.is_ledger_intact() {
            return Err(work.retry_later(RETRY_PAUSE).await);
        }
        // Before the time of the intent is taken, so that the intent does not age while it waits for its permit.
        let permit = tokio::select! {
            permit = lane.shared.ledger_limit.permit(&lane.account.channel, Urgency::Begins) => permit,
            () = lane.closing.cancelled() => return Err(Stage::RELEASED),
            () = tokio::time::sleep(job.time_left()) => {
                return Err(self.deadline_passed());
            }
        };
        let at = Moment::now();
        let record = self.known.intent(job.key(&self.work.lane.account.channel), at.unix_ms, token());
        let expected = self.known.revision;
        let write = LedgerWrite { expected, record, writer: Writer::Owner };
        self.known = work.write(&permit, write).await?;
        drop(permit);
        // This write may have shown that the ledger has lost entries, which is not known yet on a new connection. Only this
        // process knows that no call followed the intent: another reading of it would look the message up and end as UNKNOWN.
        while !bus.is_ledger_intact() {
            if !lane.pause(RETRY_PAUSE).await {
                return Err(Stage::RELEASED);
            }
        }
        Ok(Intent { at })
    }

    /// Whether the call may be made; the last check before it. An intent whose ack came late is read back first. That
    /// needs no write, and makes it as certain as right after the write that the intent is in the ledger. The deadline
    /// of the call still counts from the intent, as it does for a process that would look the message up.
    pub(super) async fn may_call(&self, intent: &Intent) -> bool {
        let lane = self.work.lane;
        // When it was last certain that the intent is in the ledger.
        let mut certain = intent.at;
        if must_read_back(certain.age_at(Moment::now()), lane.shared.settings.send_timeout) {
            let now = Moment::now();
            if let Ok(Some(entry)) = lane.shared.bus.ledger_read(&self.work.key).await
                && entry.revision == self.known.revision
            {
                certain = now;
            }
        }
        may_call(certain.age_at(Moment::now()), lane.lease.is_valid())
    }
}
