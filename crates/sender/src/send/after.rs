//! What a finished call changes for the command and for the lane.

use std::time::Duration;

use bsp::sending::SendResponse;
use bus::ledger::LedgerKey;
use tokio::time::Instant;

use super::trials::Trials;
use super::{LaneContext, LedgerView, Stage};
use crate::call::CallResult;
use crate::command::PendingCommand;
use crate::gate::{AccountRefusal, BreakerChange, CallOutcome, Permit};
use crate::outcome::Outcome;

/// First delay after a call that had no effect, in milliseconds.
const BACK_OFF_FIRST_MS: u64 = 500;
/// Longest delay after a call that had no effect, in milliseconds.
const BACK_OFF_MAX_MS: u64 = 30_000;

/// A finished call, with the intent in `known`.
pub(super) struct Called<'a> {
    pub(super) job: &'a PendingCommand,
    pub(super) key: &'a LedgerKey,
    pub(super) known: LedgerView,
    pub(super) end: CallResult,
}

/// What follows from a call that had no effect.
struct Unsent<'a> {
    /// What it shows about the account.
    health: CallOutcome,
    why: String,
    /// Delay before the next call.
    wait: Duration,
    trials: &'a mut Trials,
}

impl LaneContext {
    /// Reports what the call showed about the account, and returns the next stage.
    pub(super) async fn after_call(&self, called: Called<'_>, leave: Permit, trials: &mut Trials) -> Stage {
        self.shared.metrics.call(&self.account, name(&called.end));
        let wait = back_off(called.known.attempts());
        let (health, why, wait) = match &called.end {
            CallResult::Answered(answer) => {
                self.account.key_is_taken();
                self.record(leave, health(answer));
                return decided(called);
            }
            CallResult::NoAnswer(what) => {
                let what = if *what == "timed_out" { "timed out" } else { "connection lost" };
                self.record(leave, CallOutcome::Failed(what));
                return Stage::LookUp(called.known);
            }
            CallResult::NotConnected => {
                let what = "cannot connect";
                (CallOutcome::Failed(what), what.to_owned(), wait)
            }
            CallResult::Limited { after } => {
                let _ = trials.refused(None, self.gate.accepted());
                let health = CallOutcome::RateLimited { after: *after, is_alone: trials.is_alone() };
                (health, "429, too many calls".to_owned(), wait.max(after.unwrap_or_default()))
            }
            CallResult::Refused { why: refusal, after } => {
                if matches!(refusal.status, 401 | 403) {
                    self.account.key_is_refused();
                }
                let verdict = trials.refused(refusal.error.clone(), self.gate.accepted());
                let (why, after) = (refusal.to_string(), *after);
                let is_alone = trials.is_alone();
                let health = CallOutcome::Refused(AccountRefusal { why: why.clone(), after, is_alone });
                // About a message that may have been sent before, a refusal shows nothing.
                if let Some(error) = verdict.filter(|_| !is_resent(&called.known)) {
                    self.record(leave, health);
                    return Stage::Decide(called.known, Outcome::rejected_for(error).into());
                }
                (health, why, wait.max(after.unwrap_or_default()))
            }
        };
        self.unsent(called, leave, Unsent { health, why, wait, trials }).await
    }

    async fn unsent(&self, called: Called<'_>, leave: Permit, unsent: Unsent<'_>) -> Stage {
        self.record(leave, unsent.health);
        unsent.trials.failed(unsent.why, Instant::now());
        self.not_sent(called.job, called.key, called.known, unsent.wait).await
    }

    fn record(&self, leave: Permit, health: CallOutcome) {
        let channel = self.account.channel.as_str();
        match leave.record(health, Instant::now()) {
            Some(BreakerChange::Paused(pause)) => {
                let reason = self.gate.reason(Instant::now()).map(|reason| reason.why).unwrap_or_default();
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

/// Returns the stage after a response about the message.
fn decided(called: Called<'_>) -> Stage {
    let Called { job, known, end, .. } = called;
    let CallResult::Answered(answer) = end else { return Stage::LookUp(known) };
    let message_id = job.command.id.message_id();
    let is_first = known.attempts() <= 1;
    match Outcome::of_answer(*answer, &message_id, is_first) {
        // A refusal of a message that is sent again shows nothing about the earlier call.
        Some(Outcome::Rejected { .. }) if is_resent(&known) => Stage::Decide(known, Outcome::Unknown.into()),
        Some(outcome) => Stage::Decide(known, outcome.into()),
        None => Stage::LookUp(known),
    }
}

fn is_resent(known: &LedgerView) -> bool {
    known.unknown().is_some_and(|(_, is_resent)| is_resent)
}

/// Returns what a response shows about the account.
fn health(answer: &SendResponse) -> CallOutcome {
    match answer {
        SendResponse::Accepted { .. } => CallOutcome::Accepted,
        SendResponse::Rejected { .. } | SendResponse::Duplicate { .. } => CallOutcome::Answered,
        SendResponse::Indeterminate { what } => CallOutcome::Failed(what),
        SendResponse::Limited | SendResponse::NotSent(_) => CallOutcome::Neutral,
    }
}

/// Returns the value of a metric's label.
fn name(end: &CallResult) -> &'static str {
    match end {
        CallResult::Answered(answer) => match &**answer {
            SendResponse::Accepted { .. } => "accepted",
            SendResponse::Rejected { .. } => "rejected",
            SendResponse::Duplicate { .. } => "duplicate",
            SendResponse::Indeterminate { .. } => "unclear",
            SendResponse::Limited => "limited",
            SendResponse::NotSent(_) => "refused_account",
        },
        CallResult::Limited { .. } => "limited",
        CallResult::Refused { why, .. } if why.error.is_some() => "refused_account",
        CallResult::Refused { .. } => "refused_in_front",
        CallResult::NotConnected => "not_connected",
        CallResult::NoAnswer("timed_out") => "timed_out",
        CallResult::NoAnswer(_) => "broken",
    }
}

/// Returns a delay that doubles with every attempt, with a jitter of half of it, so that lanes do not retry together.
fn back_off(attempts: u32) -> Duration {
    let longest_ms = (BACK_OFF_FIRST_MS << attempts.saturating_sub(1).min(10)).min(BACK_OFF_MAX_MS);
    Duration::from_millis(fastrand::u64(longest_ms / 2..=longest_ms))
}
