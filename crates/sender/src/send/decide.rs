//! Writes the outcome of a command to the ledger, and makes its result.

use std::time::Duration;

use jiff::Timestamp;

use super::Work;
use super::ledger_write::LedgerWrite;
use super::stage::{LedgerView, Stage};
use crate::ledger::token;
use crate::result::outcome::Outcome;

impl Work<'_> {
    /// Writes the decision to the ledger.
    pub(super) async fn decide(&self, known: LedgerView, outcome: &Outcome) -> Stage {
        let (metrics, job) = (&self.lane.shared.metrics, self.job);
        let now = Timestamp::now();
        let result = outcome.to_result(self.result_context(known.attempts()), now);
        let (expected, writer) = (known.revision, known.outcome_writer());
        let key = job.key(&self.lane.account.channel);
        let mut record = known.decided(key, token(), &result);
        if self.lane.shared.bus.is_ledger_compact() {
            record = record.compacted(key.identity);
        }
        if let Err(stage) = self.write_outcome(LedgerWrite { expected, record, writer }).await {
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
