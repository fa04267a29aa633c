//! Reads the ledger entry of a command.

use std::time::Duration;

use bus::rate_limited_log::RateLimitedLog;
use tokio::time::Instant;

use super::decisions::after_read;
use super::stage::Stage;
use super::{RETRY_PAUSE, Work};
use crate::context::Completion;
use crate::ledger::store_limit::Urgency;

/// Interval of reading a ledger entry that another version has written.
const UNREADABLE_PAUSE: Duration = Duration::from_secs(30);

static NOT_READ: RateLimitedLog = RateLimitedLog::new();
static UNREADABLE: RateLimitedLog = RateLimitedLog::new();

impl Work<'_> {
    /// Reads the entry, and returns the stage that it shows.
    pub(super) async fn read(&self) -> Stage {
        let Self { lane, job, key } = self;
        let permit = tokio::select! {
            permit = lane.shared.ledger_limit.permit(&lane.account.channel, Urgency::Begins) => permit,
            () = lane.closing.cancelled() => return Stage::RELEASED,
        };
        let began = Instant::now();
        let entry = match lane.shared.bus.ledger_read(key).await {
            Ok(entry) => entry,
            Err(error) => {
                // An unreachable server does not count as a slow one.
                if lane.shared.bus.is_connected() {
                    permit.timed_out(Instant::now());
                }
                drop(permit);
                if let Some(turn) = NOT_READ.next() {
                    tracing::warn!(function = "sender", "{error}{turn}");
                }
                return self.retry_later(RETRY_PAUSE).await;
            }
        };
        permit.acknowledged(began, Instant::now());
        drop(permit);
        let Ok(stage) = after_read(entry.as_ref(), job.key(&lane.account.channel)) else {
            if let Some(turn) = UNREADABLE.next() {
                let id = &job.command.id;
                tracing::error!(function = "sender", "cannot read the ledger entry of {id}{turn}");
            }
            return self.retry_later(UNREADABLE_PAUSE).await;
        };
        if stage == Stage::End(Completion::Duplicate) {
            lane.shared.metrics.repeated.inc();
        }
        stage
    }
}
