//! Looks a message up in the BSP's message log, and decides what follows if the log does not show it.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::stage::{LedgerView, Stage};
use super::{Overtaking, Work};
use crate::bsp_client::log_question::LookupResult;
use crate::ledger::record::State;
use crate::result::outcome::Outcome;

/// Delay of the first request to the message log after a call of this process without a clear response: a log shows
/// most messages by then.
const FIRST_QUERY_DELAY: Duration = Duration::from_secs(1);
/// Most repetitions of the last request while the message log does not respond.
const REPEATS_MAX: u32 = 24;
/// Delay between these repetitions.
const REPEAT_PAUSE: Duration = Duration::from_secs(5);

/// The intent of the call that is looked up.
struct LookedUp {
    /// When the last call was about to be made, in milliseconds since 1970.
    at_ms: i64,
    /// When the first call with an unknown outcome was about to be made.
    unknown_since_ms: i64,
}

impl LookedUp {
    fn of(known: &LedgerView) -> Option<Self> {
        match known.record.as_ref()?.state {
            State::Intent { at_ms, unknown_since_ms, .. } => Some(Self { at_ms, unknown_since_ms }),
            State::NotSent | State::Done { .. } => None,
        }
    }
}

impl Work<'_> {
    /// Looks a message up, and lets the next one to the recipient start if that takes longer than the channel's setting
    /// for holding it back. `ended_at` is when the call ended, if this process made it.
    pub(super) async fn resolve_while_held(
        &self,
        known: LedgerView,
        ended_at: Option<Instant>,
        overtaking: &mut Option<Overtaking>,
    ) -> Stage {
        let hold = self.hold_end(&known, ended_at);
        let mut resolving = std::pin::pin!(self.resolve(known, ended_at));
        if let Some(hold) = hold {
            tokio::select! {
                stage = &mut resolving => return stage,
                () = tokio::time::sleep_until(hold) => {}
            }
            if let Some(overtaking) = overtaking.take() {
                overtaking.begin();
            }
        }
        resolving.await
    }

    /// Returns until when the next message to the recipient is held back; `None` for until this one is decided.
    fn hold_end(&self, known: &LedgerView, ended_at: Option<Instant>) -> Option<Instant> {
        let hold = self.lane.account.details.unknown_hold?;
        if let Some(ended_at) = ended_at {
            return Some(ended_at + hold);
        }
        // Another process made the call, which ends at its timeout.
        let age = age(LookedUp::of(known)?.at_ms);
        Some(Instant::now() + (self.lane.shared.settings.send_timeout + hold).saturating_sub(age))
    }

    /// Queries the BSP's message log until it shows the message or all queries were made.
    async fn resolve(&self, known: LedgerView, ended_at: Option<Instant>) -> Stage {
        let Some(call) = LookedUp::of(&known) else { return Stage::Read };
        let message_id = self.job.command.id.message_id();
        let Some(queried) = self.query_message_log(&message_id, call.at_ms, ended_at).await else {
            return Stage::RELEASED;
        };
        let rule = ResendRule {
            resend_after: self.lane.account.details.resend_unknown_after,
            unknown_for: age(call.unknown_since_ms),
            time_left: self.job.time_left(),
        };
        let last = match after_queries(known, queried, &message_id, rule) {
            AfterQueries::Decided(stage) => return stage,
            AfterQueries::LastQuery(last) => last,
        };
        if !self.lane.pause(last.wait).await {
            return Stage::RELEASED;
        }
        let found = self.lane.shared.message_log.query(&self.lane.account, &message_id).await;
        let stage = after_last_query(last, found, &message_id);
        if matches!(stage, Stage::Attempt(_)) {
            tracing::warn!(
                function = "sender",
                message_id,
                "message {message_id} is sent again: its outcome stayed unknown"
            );
        }
        stage
    }

    /// Makes a query at every time that is still to come, and one for all times that have passed. Returns what all of them
    /// have shown, or `None` if the lane was closed before the last one.
    async fn query_message_log(
        &self,
        message_id: &str,
        intent_at_ms: i64,
        ended_at: Option<Instant>,
    ) -> Option<LookupResult> {
        let started = Instant::now();
        let (lane, settings) = (self.lane, &self.lane.shared.settings);
        let call = LookedUpCall {
            timeout: settings.send_timeout,
            age: age(intent_at_ms),
            since_end: ended_at.map(|at| started.saturating_duration_since(at)),
        };
        let due = due(&settings.lookup_delays, call);
        let last = due.last().copied();
        let mut queried = LookupResult::Failed;
        for wait in due {
            if !lane.pause((started + wait).saturating_duration_since(Instant::now())).await {
                return None;
            }
            let mut repeats = 0;
            loop {
                let found = tokio::select! {
                    found = lane.shared.message_log.query(&lane.account, message_id) => found,
                    () = lane.closing.cancelled() => return None,
                };
                match found {
                    found @ LookupResult::Found(_) => return Some(found),
                    LookupResult::NotFound => {
                        queried = LookupResult::NotFound;
                        break;
                    }
                    LookupResult::Failed if Some(wait) != last || repeats >= REPEATS_MAX => break,
                    LookupResult::Failed => {}
                }
                repeats += 1;
                if !lane.pause(REPEAT_PAUSE).await {
                    return None;
                }
            }
        }
        Some(queried)
    }
}

/// Returns the time since a time of the ledger.
fn age(at_ms: i64) -> Duration {
    let age_ms = Timestamp::now().as_millisecond().saturating_sub(at_ms);
    Duration::from_millis(u64::try_from(age_ms).unwrap_or(0))
}

/// The times of a call that is looked up.
#[derive(Debug, Clone, Copy)]
pub struct LookedUpCall {
    /// Timeout of the call.
    pub timeout: Duration,
    /// Age of its intent.
    pub age: Duration,
    /// Time since the call ended, if this process made it.
    pub since_end: Option<Duration>,
}

/// Returns the delays of the queries for a message, from now.
pub fn due(delays: &[Duration], call: LookedUpCall) -> Vec<Duration> {
    let Some(since_end) = call.since_end else {
        // The call of another process may be in flight until its timeout.
        let mut due: Vec<_> =
            delays.iter().map(|delay| (*delay).max(call.timeout).saturating_sub(call.age)).collect();
        due.dedup();
        return due;
    };
    let first = FIRST_QUERY_DELAY.saturating_sub(since_end);
    let later = delays.iter().map(|delay| delay.saturating_sub(call.age)).filter(|delay| *delay > first);
    std::iter::once(first).chain(later).collect()
}

/// What decides whether a message of unknown outcome may be sent again.
#[derive(Debug, Clone, Copy)]
pub struct ResendRule {
    /// The channel's `resend_unknown_after`; `None` for never.
    pub resend_after: Option<Duration>,
    /// Time since the intent of the first call with an unknown outcome.
    pub unknown_for: Duration,
    /// Time until the deadline of the command.
    pub time_left: Duration,
}

/// What follows the queries of the message log.
#[derive(Debug, PartialEq)]
pub enum AfterQueries {
    /// The command is decided.
    Decided(Stage),
    /// The message may be sent again if one more query does not show it.
    LastQuery(LastQuery),
}

/// The query right before a message may be sent again.
#[derive(Debug, PartialEq)]
pub struct LastQuery {
    /// The entry with the intent of the unknown call.
    pub known: LedgerView,
    /// Delay of the query.
    pub wait: Duration,
    /// Whether an earlier query was answered.
    pub has_responded: bool,
}

/// Returns what follows from all queries: [`LookupResult::NotFound`] if the log has responded at least once and has not shown the
/// message. A message is sent again once at most, when its time has come, and before its deadline.
pub fn after_queries(
    known: LedgerView,
    queried: LookupResult,
    message_id: &str,
    rule: ResendRule,
) -> AfterQueries {
    let is_resent = known.is_resent();
    let has_responded = !matches!(queried, LookupResult::Failed);
    if let LookupResult::Found(answer) = queried {
        let outcome = Outcome::of_answer(*answer, message_id, known.attempts());
        // The log may only show that the second call was refused.
        let outcome = outcome.filter(|outcome| !is_resent || matches!(outcome, Outcome::Accepted { .. }));
        if let Some(outcome) = outcome {
            return AfterQueries::Decided(Stage::Decide(known, outcome.into()));
        }
    }
    if let Some(resend_after) = rule.resend_after.filter(|_| !is_resent) {
        let wait = resend_after.saturating_sub(rule.unknown_for);
        if wait < rule.time_left {
            return AfterQueries::LastQuery(LastQuery { known, wait, has_responded });
        }
    }
    AfterQueries::Decided(Stage::Decide(known, Outcome::Unknown.into()))
}

/// Returns what follows from the query right before a message is sent again: a message that the log shows by now is not sent
/// again, nor one that could not be queried.
pub fn after_last_query(last: LastQuery, found: LookupResult, message_id: &str) -> Stage {
    let LastQuery { known, has_responded, .. } = last;
    let outcome = match found {
        LookupResult::Found(answer) => Outcome::of_answer(*answer, message_id, known.attempts()),
        LookupResult::NotFound if has_responded => return Stage::Attempt(known),
        LookupResult::NotFound | LookupResult::Failed => None,
    };
    Stage::Decide(known, outcome.unwrap_or(Outcome::Unknown).into())
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
            let since_end = since_end.map(Duration::from_secs);
            due(&delays, LookedUpCall { timeout, age: Duration::from_secs(age), since_end })
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
