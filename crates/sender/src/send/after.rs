//! Step 5: what a finished call changes for the command and for the lane.

use std::time::Duration;

use bsp::sending::{NotSent, SendResponse};
use bus::rate_limited_log::RateLimitedLog;
use tokio::time::Instant;

use super::attempt::Attempt;
use super::decisions::Writer;
use super::ledger_write::LedgerWrite;
use super::stage::Stage;
use crate::bsp_client::call::CallResult;
use crate::result::outcome::Outcome;
use crate::throttle::{AccountRefusal, BreakerChange, CallOutcome, Permit};

/// First delay after a call that had no effect, in milliseconds.
const BACK_OFF_FIRST_MS: u64 = 500;
/// Longest delay after a call that had no effect, in milliseconds.
const BACK_OFF_MAX_MS: u64 = 30_000;

static ABORTED: RateLimitedLog = RateLimitedLog::new();

/// A call that had no effect.
struct Unsent {
    /// What it shows about the account.
    shows: CallOutcome,
    why: String,
    /// Delay before the next call that the BSP asks for; the lane's own delay may be longer.
    after: Duration,
}

impl Attempt<'_> {
    /// Reports what the call showed about the account, and returns the next stage.
    pub(super) async fn after_call(&mut self, end: CallResult, permit: Permit) -> Stage {
        let lane = self.work.lane;
        lane.shared.metrics.call(&lane.account, end.label());
        let trials = &mut self.progress.trials;
        let unsent = match end {
            CallResult::Answered(answer) => {
                lane.account.key_is_taken();
                self.record(permit, account_state(&answer));
                return self.decided(*answer);
            }
            CallResult::Indeterminate(reason) => {
                self.record(permit, CallOutcome::Failed(reason.text()));
                return Stage::LookUp { known: self.take_known(), ended_at: Some(Instant::now()) };
            }
            CallResult::NotConnected => {
                let why = "cannot connect";
                Unsent { shows: CallOutcome::Failed(why), why: why.to_owned(), after: Duration::ZERO }
            }
            CallResult::Limited { after } => {
                let _ = trials.refused(None, lane.throttle.accepted());
                let shows = CallOutcome::RateLimited { after, is_alone: trials.is_alone() };
                Unsent { shows, why: "429, too many calls".to_owned(), after: after.unwrap_or_default() }
            }
            CallResult::Refused { why, after } => return self.refused(permit, why, after).await,
        };
        self.unsent(permit, unsent).await
    }

    /// Handles a refusal of the account, or of a proxy in front of the BSP.
    async fn refused(&mut self, permit: Permit, refusal: NotSent, after: Option<Duration>) -> Stage {
        let lane = self.work.lane;
        let trials = &mut self.progress.trials;
        if matches!(refusal.status, 401 | 403) {
            lane.account.key_is_refused();
        }
        let why = refusal.to_string();
        let verdict = trials.refused(refusal.error, lane.throttle.accepted());
        let is_alone = trials.is_alone();
        let shows = CallOutcome::Refused(AccountRefusal { why: why.clone(), after, is_alone });
        // About a message that may have been sent before, a refusal shows nothing.
        if let Some(error) = verdict.filter(|_| !self.known.is_resent()) {
            self.record(permit, shows);
            return Stage::Decide(self.take_known(), Outcome::rejected_for(error).into());
        }
        self.unsent(permit, Unsent { shows, why, after: after.unwrap_or_default() }).await
    }

    async fn unsent(&mut self, permit: Permit, unsent: Unsent) -> Stage {
        let wait = back_off(self.known.attempts()).max(unsent.after);
        self.record(permit, unsent.shows);
        self.progress.trials.failed(unsent.why, Instant::now());
        self.not_sent(wait).await
    }

    /// Makes no call after an intent that is too old or was overwritten, and writes that to the ledger.
    pub(super) async fn abort_call(&mut self) -> Stage {
        self.work.lane.shared.metrics.withheld.inc();
        if let Some(turn) = ABORTED.next() {
            let id = &self.work.job.command.id;
            tracing::warn!(
                function = "sender",
                "the call for {id} was aborted: too much time passed since its intent was written, or the lane was lost{turn}"
            );
        }
        self.not_sent(Duration::ZERO).await
    }

    /// Records in the ledger that a call had no effect, so that no look-up is needed, and allows another after `wait`.
    async fn not_sent(&mut self, wait: Duration) -> Stage {
        let mut known = self.take_known();
        if let Some(record) = known.unsent() {
            let write = LedgerWrite { expected: known.revision, record, writer: Writer::Caller };
            known = match self.work.write_outcome(write).await {
                Ok(known) => known,
                Err(stage) => return stage,
            };
        }
        if !self.work.lane.pause(wait.min(self.work.job.time_left())).await {
            return Stage::RELEASED;
        }
        Stage::Attempt(known)
    }

    /// Returns the stage after a response about the message.
    fn decided(&mut self, answer: SendResponse) -> Stage {
        let message_id = self.work.job.command.id.message_id();
        self.take_known().after_answer(answer, &message_id, Instant::now())
    }

    /// Reports what a call shows about the account.
    fn record(&self, permit: Permit, shows: CallOutcome) {
        let lane = self.work.lane;
        let channel = lane.account.channel.as_str();
        match permit.record(shows, Instant::now()) {
            Some(BreakerChange::Paused(pause)) => {
                let reason = lane.throttle.reason(Instant::now());
                let reason = reason.map(|reason| reason.why.to_string()).unwrap_or_default();
                tracing::warn!(
                    function = "sender",
                    channel,
                    "the lane of channel {channel} is paused for {} s: {reason}",
                    pause.as_secs()
                );
            }
            Some(BreakerChange::Opened) => {
                tracing::info!(function = "sender", channel, "the lane of channel {channel} continues");
            }
            None => {}
        }
    }
}

/// Returns what a response shows about the account.
fn account_state(answer: &SendResponse) -> CallOutcome {
    match answer {
        SendResponse::Accepted { .. } => CallOutcome::Accepted,
        SendResponse::Rejected { .. } | SendResponse::Duplicate { .. } => CallOutcome::Answered,
        SendResponse::Indeterminate { what } => CallOutcome::Failed(what),
        SendResponse::Limited | SendResponse::NotSent(_) => CallOutcome::Neutral,
    }
}

/// Returns a delay that doubles with every attempt, with a jitter of half of it, so that lanes do not retry together.
fn back_off(attempts: u32) -> Duration {
    let longest_ms = (BACK_OFF_FIRST_MS << attempts.saturating_sub(1).min(10)).min(BACK_OFF_MAX_MS);
    Duration::from_millis(fastrand::u64(longest_ms / 2..=longest_ms))
}
