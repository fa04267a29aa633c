//! Writes the outcome of a command to the ledger, and makes its result.

use std::time::Duration;

use jiff::Timestamp;

use super::Work;
use super::stage::{LedgerView, Stage};
use crate::ledger::record::Record;
use crate::ledger::token;
use crate::result::outcome::Outcome;

impl Work<'_> {
    /// Writes the decision to the ledger.
    pub(super) async fn decide(&self, known: LedgerView, outcome: &Outcome) -> Stage {
        let (metrics, job) = (&self.lane.shared.metrics, self.job);
        let now = Timestamp::now();
        let result = outcome.to_result(self.result_context(known.attempts()), now);
        let mut record = known
            .record
            .unwrap_or_else(|| Record::new(job.delivery.sequence, job.digest.clone(), token()))
            .decided(&result);
        if self.lane.shared.bus.is_ledger_compact() {
            record = record.compacted(job.identity(&self.lane.account.channel));
        }
        if let Err(stage) = self.write_outcome(known.revision, record).await {
            return stage;
        }
        metrics.result(self.lane.owner(), job.command.content.name(), outcome.name());
        if matches!(outcome, Outcome::Accepted { .. }) {
            let age = Duration::try_from(now.duration_since(job.delivery.stored_at)).unwrap_or_default();
            metrics.accept_time.observe(age);
        }
        Stage::Publish(Box::new(result))
    }
}
