//! Looks a message up in the BSP's message log, and decides what follows if the log does not show it.

use std::time::Duration;

use bsp::sending::SendResponse;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Completion, LaneContext, LedgerView, Overtaking, Stage};
use crate::command::PendingCommand;
use crate::message_log::LookupResult;
use crate::outcome::Outcome;
use crate::record::State;

/// Delay of the first request to the message log after a call of this process without a clear response: a log shows
/// most messages by then.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// Most repetitions of the last request while the message log does not respond.
const REPEATS_MAX: u32 = 24;
/// Delay between these repetitions.
const REPEAT_PAUSE: Duration = Duration::from_secs(5);

/// Why the message log does not show a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// It responded, and did not have the message.
    Silent,
    /// It never responded.
    Unanswered,
}

impl LaneContext {
    /// Looks a message up, and lets the next one to the recipient start if that takes longer than the channel's setting
    /// for holding it back. `ended_at` is when the call ended, if this process made it.
    pub(super) async fn resolve_while_held(
        &self,
        job: &PendingCommand,
        known: LedgerView,
        ended_at: Option<Instant>,
        overtaking: &mut Option<Overtaking>,
    ) -> Stage {
        let hold = self.hold_end(&known, ended_at);
        let mut looking = std::pin::pin!(self.resolve(job, known, ended_at));
        if let Some(hold) = hold {
            tokio::select! {
                stage = &mut looking => return stage,
                () = tokio::time::sleep_until(hold) => {}
            }
            if let Some(overtaking) = overtaking.take() {
                overtaking.begin();
            }
        }
        looking.await
    }

    /// Returns until when the next message to the recipient is held back; `None` for until this one is decided.
    fn hold_end(&self, known: &LedgerView, ended_at: Option<Instant>) -> Option<Instant> {
        let hold = self.account.details.unknown_hold?;
        if let Some(ended_at) = ended_at {
            return Some(ended_at + hold);
        }
        // Another process made the call, which ends at its timeout.
        let State::Intent { at_ms, .. } = known.record.as_ref()?.state else { return None };
        Some(Instant::now() + (self.shared.settings.send_timeout + hold).saturating_sub(age(at_ms)))
    }

    /// Queries the BSP's message log until it shows the message or all queries were made.
    async fn resolve(&self, job: &PendingCommand, known: LedgerView, ended_at: Option<Instant>) -> Stage {
        let Some(State::Intent { at_ms, unknown_since_ms, is_resent }) =
            known.record.as_ref().map(|record| record.state.clone())
        else {
            return Stage::Read;
        };
        let message_id = job.command.id.message_id();
        let mut was_asked = true;
        match self.query_message_log(&message_id, at_ms, ended_at).await {
            Some(Ok(answer)) => {
                let is_first = known.attempts() <= 1;
                let outcome = Outcome::of_answer(answer, &message_id, is_first);
                // The log may only show that the second call was refused.
                let outcome =
                    outcome.filter(|outcome| !is_resent || matches!(outcome, Outcome::Accepted { .. }));
                if let Some(outcome) = outcome {
                    return Stage::Decide(known, outcome.into());
                }
            }
            Some(Err(silence)) => was_asked = silence == Silence::Silent,
            None => return Stage::End(Completion::Released),
        }
        let Some(resend_after) = self.account.details.resend_unknown_after.filter(|_| !is_resent) else {
            return Stage::Decide(known, Outcome::Unknown.into());
        };
        let left = resend_after.saturating_sub(age(unknown_since_ms));
        if Timestamp::now() + left >= job.deadline {
            return Stage::Decide(known, Outcome::Unknown.into());
        }
        if !self.pause(left).await {
            return Stage::End(Completion::Released);
        }
        // One more query right before: a message that the log shows by now is not sent again, nor one that could not be
        // queried.
        match self.shared.lookups.ask(&self.account, &message_id).await {
            LookupResult::Found(answer) => {
                let outcome = Outcome::of_answer(*answer, &message_id, known.attempts() <= 1);
                return Stage::Decide(known, outcome.unwrap_or(Outcome::Unknown).into());
            }
            LookupResult::Silent if was_asked => {}
            LookupResult::Silent | LookupResult::Unanswered => {
                return Stage::Decide(known, Outcome::Unknown.into());
            }
        }
        tracing::warn!(
            function = "sender",
            message_id,
            "message {message_id} is sent again: its outcome stayed unknown"
        );
        Stage::Attempt(known)
    }

    /// Makes a query at every time that is still to come, and one for all times that have passed. Returns `Some(Err)`
    /// if the log did not show the message, `None` if the lane is closed.
    async fn query_message_log(
        &self,
        message_id: &str,
        intent_at_ms: i64,
        ended_at: Option<Instant>,
    ) -> Option<Result<SendResponse, Silence>> {
        let started = Instant::now();
        let settings = &self.shared.settings;
        let since_end = ended_at.map(|at| started.saturating_duration_since(at));
        let due = due(&settings.lookup_delays, settings.send_timeout, age(intent_at_ms), since_end);
        let last = due.last().copied();
        let mut silence = Silence::Unanswered;
        for wait in due {
            if !self.pause((started + wait).saturating_duration_since(Instant::now())).await {
                return None;
            }
            let mut repeats = 0;
            loop {
                let look = tokio::select! {
                    look = self.shared.lookups.ask(&self.account, message_id) => look,
                    () = self.closing.cancelled() => return None,
                };
                match look {
                    LookupResult::Found(answer) => return Some(Ok(*answer)),
                    LookupResult::Silent => {
                        silence = Silence::Silent;
                        break;
                    }
                    LookupResult::Unanswered if Some(wait) != last || repeats >= REPEATS_MAX => break,
                    LookupResult::Unanswered => {}
                }
                repeats += 1;
                if !self.pause(REPEAT_PAUSE).await {
                    return None;
                }
            }
        }
        Some(Err(silence))
    }
}

/// Returns the time since a time of the ledger.
fn age(at_ms: i64) -> Duration {
    let age_ms = Timestamp::now().as_millisecond().saturating_sub(at_ms);
    Duration::from_millis(u64::try_from(age_ms).unwrap_or(0))
}

/// Returns the delays of the queries for a message whose intent is `age` old. `since_end` is the time since its call
/// ended, if this process made it.
fn due(
    delays: &[Duration],
    send_timeout: Duration,
    age: Duration,
    since_end: Option<Duration>,
) -> Vec<Duration> {
    let Some(since_end) = since_end else {
        // The call of another process may be in flight until its timeout.
        let mut due: Vec<_> =
            delays.iter().map(|delay| (*delay).max(send_timeout).saturating_sub(age)).collect();
        due.dedup();
        return due;
    };
    let first = FIRST_LOOK.saturating_sub(since_end);
    let later = delays.iter().map(|delay| delay.saturating_sub(age)).filter(|delay| *delay > first);
    std::iter::once(first).chain(later).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(all: &[u64]) -> Vec<Duration> {
        all.iter().map(|seconds| Duration::from_secs(*seconds)).collect()
    }

    #[test]
    fn a_message_is_looked_up_a_second_after_its_call_ended() {
        let delays = seconds(&[5, 15, 30]);
        let timeout = Duration::from_secs(10);
        let due = |age: u64, since_end: Option<u64>| {
            due(&delays, timeout, Duration::from_secs(age), since_end.map(Duration::from_secs))
        };
        // The connection was lost immediately.
        assert_eq!(due(0, Some(0)), seconds(&[1, 5, 15, 30]));
        // It timed out: times before the first query are left out.
        assert_eq!(due(10, Some(0)), seconds(&[1, 5, 20]));
        // The call of a process that died may last until its timeout.
        assert_eq!(due(2, None), seconds(&[8, 13, 28]));
        assert_eq!(due(20, None), seconds(&[0, 10]));
        assert_eq!(due(100, None), seconds(&[0]));
        assert_eq!(due(100, Some(0)), seconds(&[1]));
    }
}
