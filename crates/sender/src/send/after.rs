//! What a finished call changes for the command and for the lane.

use std::time::Duration;

use bsp::sending::Answer;
use bus::ledger::LedgerKey;
use tokio::time::Instant;

use super::trials::Trials;
use super::{Known, Lane, Stage};
use crate::call::CallEnd;
use crate::command::Job;
use crate::gate::{Change, Health, Pass, Refusal};
use crate::outcome::Outcome;

/// First delay after a call that had no effect, in milliseconds.
const BACK_OFF_FIRST_MS: u64 = 500;
/// Longest delay after a call that had no effect, in milliseconds.
const BACK_OFF_MAX_MS: u64 = 30_000;

/// A finished call, with the intent in `known`.
pub(super) struct Called<'a> {
    pub(super) job: &'a Job,
    pub(super) key: &'a LedgerKey,
    pub(super) known: Known,
    pub(super) end: CallEnd,
}

/// What follows from a call that had no effect.
struct Unsent<'a> {
    /// What it shows about the account.
    health: Health,
    why: String,
    /// Delay before the next call.
    wait: Duration,
    trials: &'a mut Trials,
}

impl Lane {
    /// Reports what the call showed about the account, and returns the next stage.
    pub(super) async fn after_call(&self, called: Called<'_>, leave: Pass, trials: &mut Trials) -> Stage {
        self.shared.metrics.call(&self.account, name(&called.end));
        let wait = back_off(called.known.attempts());
        let (health, why, wait) = match &called.end {
            CallEnd::Answered(answer) => {
                self.account.key_is_taken();
                self.say(leave, health(answer));
                return decided(called);
            }
            CallEnd::NoAnswer(what) => {
                let what = if *what == "timed_out" { "timed out" } else { "connection lost" };
                self.say(leave, Health::Fails(what));
                return Stage::LookUp(called.known);
            }
            CallEnd::NotConnected => {
                let what = "cannot connect";
                (Health::Fails(what), what.to_owned(), wait)
            }
            CallEnd::Limited { after } => {
                let _ = trials.refused(None, self.gate.accepted());
                let health = Health::Limits { after: *after, is_alone: trials.is_alone() };
                (health, "429, too many calls".to_owned(), wait.max(after.unwrap_or_default()))
            }
            CallEnd::Refused { why: refusal, after } => {
                if matches!(refusal.status, 401 | 403) {
                    self.account.key_is_refused();
                }
                let verdict = trials.refused(refusal.error.clone(), self.gate.accepted());
                let (why, after) = (refusal.to_string(), *after);
                let is_alone = trials.is_alone();
                let health = Health::Refuses(Refusal { why: why.clone(), after, is_alone });
                // About a message that may have been sent before, a refusal shows nothing.
                if let Some(error) = verdict.filter(|_| !is_resent(&called.known)) {
                    self.say(leave, health);
                    return Stage::Decide(called.known, Outcome::rejected_for(error).into());
                }
                (health, why, wait.max(after.unwrap_or_default()))
            }
        };
        self.unsent(called, leave, Unsent { health, why, wait, trials }).await
    }

    async fn unsent(&self, called: Called<'_>, leave: Pass, unsent: Unsent<'_>) -> Stage {
        self.say(leave, unsent.health);
        unsent.trials.failed(unsent.why, Instant::now());
        self.not_sent(called.job, called.key, called.known, unsent.wait).await
    }

    fn say(&self, leave: Pass, health: Health) {
        let channel = self.account.channel.as_str();
        match leave.say(health, Instant::now()) {
            Some(Change::Paused(pause)) => {
                let reason = self.gate.reason(Instant::now()).map(|reason| reason.why).unwrap_or_default();
                tracing::warn!(
                    function = "sender",
                    channel,
                    "the lane of channel {channel} is paused for {} s: {reason}",
                    pause.as_secs()
                );
            }
            Some(Change::Opened) => {
                tracing::info!(function = "sender", channel, "the lane of channel {channel} continues");
            }
            None => {}
        }
    }
}

/// Returns the stage after a response about the message.
fn decided(called: Called<'_>) -> Stage {
    let Called { job, known, end, .. } = called;
    let CallEnd::Answered(answer) = end else { return Stage::LookUp(known) };
    let message_id = job.command.id.message_id();
    let is_first = known.attempts() <= 1;
    match Outcome::of_answer(*answer, &message_id, is_first) {
        // A refusal of a message that is sent again shows nothing about the earlier call.
        Some(Outcome::Rejected { .. }) if is_resent(&known) => Stage::Decide(known, Outcome::Unknown.into()),
        Some(outcome) => Stage::Decide(known, outcome.into()),
        None => Stage::LookUp(known),
    }
}

fn is_resent(known: &Known) -> bool {
    known.unknown().is_some_and(|(_, is_resent)| is_resent)
}

/// Returns what a response shows about the account.
fn health(answer: &Answer) -> Health {
    match answer {
        Answer::Accepted { .. } => Health::Accepts,
        Answer::Rejected { .. } | Answer::Duplicate { .. } => Health::Answers,
        Answer::Unclear { what } => Health::Fails(what),
        Answer::Limited | Answer::NotSent(_) => Health::Unsaid,
    }
}

/// Returns the value of a metric's label.
fn name(end: &CallEnd) -> &'static str {
    match end {
        CallEnd::Answered(answer) => match &**answer {
            Answer::Accepted { .. } => "accepted",
            Answer::Rejected { .. } => "rejected",
            Answer::Duplicate { .. } => "duplicate",
            Answer::Unclear { .. } => "unclear",
            Answer::Limited => "limited",
            Answer::NotSent(_) => "refused_account",
        },
        CallEnd::Limited { .. } => "limited",
        CallEnd::Refused { why, .. } if why.error.is_some() => "refused_account",
        CallEnd::Refused { .. } => "refused_in_front",
        CallEnd::NotConnected => "not_connected",
        CallEnd::NoAnswer("timed_out") => "timed_out",
        CallEnd::NoAnswer(_) => "broken",
    }
}

/// Returns a delay that doubles with every attempt, with a jitter of half of it, so that lanes do not retry together.
fn back_off(attempts: u32) -> Duration {
    let longest_ms = (BACK_OFF_FIRST_MS << attempts.saturating_sub(1).min(10)).min(BACK_OFF_MAX_MS);
    Duration::from_millis(fastrand::u64(longest_ms / 2..=longest_ms))
}
