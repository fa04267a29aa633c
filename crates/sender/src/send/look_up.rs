//! Looking a message up in the BSP's log, and what follows from its silence.

use std::time::Duration;

use bsp::sending::Answer;
use jiff::Timestamp;
use tokio::time::Instant;

use super::{Ending, Known, Lane, Stage};
use crate::command::Job;
use crate::lookup::Look;
use crate::outcome::Outcome;
use crate::record::State;

/// The last question is repeated so often when it finds no answer at all, and so far apart.
const REPEATS_MAX: u32 = 24;
const REPEAT_PAUSE: Duration = Duration::from_secs(5);

/// What a log that does not show a message has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silence {
    /// It answered, and did not show it.
    Silent,
    /// It never answered.
    Unanswered,
}

impl Lane {
    /// Asks the BSP's log until it shows the message or has been asked often enough.
    pub(super) async fn look_up(&self, job: &Job, known: Known) -> Stage {
        let Some(State::Intent { at_ms, unknown_since_ms, is_resent }) =
            known.record.as_ref().map(|record| record.state.clone())
        else {
            return Stage::Read;
        };
        let message_id = job.command.id.message_id();
        let mut was_asked = true;
        match self.ask_log(&message_id, at_ms).await {
            Some(Ok(answer)) => {
                let is_first = known.attempts() <= 1;
                let outcome = Outcome::of_answer(answer, &message_id, is_first);
                // The log may show the refusal of the second call alone.
                let outcome =
                    outcome.filter(|outcome| !is_resent || matches!(outcome, Outcome::Accepted { .. }));
                if let Some(outcome) = outcome {
                    return Stage::Decide(known, outcome.into());
                }
            }
            Some(Err(silence)) => was_asked = silence == Silence::Silent,
            None => return Stage::End(Ending::Left),
        }
        let Some(resend_after) = self.account.details.resend_unknown_after.filter(|_| !is_resent) else {
            return Stage::Decide(known, Outcome::Unknown.into());
        };
        let now = Timestamp::now();
        let age_ms = now.as_millisecond().saturating_sub(unknown_since_ms);
        let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
        if now + resend_after.saturating_sub(age) >= job.deadline {
            return Stage::Decide(known, Outcome::Unknown.into());
        }
        if !self.pause(resend_after.saturating_sub(age)).await {
            return Stage::End(Ending::Left);
        }
        // Once more, right before: what the log shows by now is not sent again, and what it was not asked for neither.
        match self.shared.lookups.ask(&self.account, &message_id).await {
            Look::Found(answer) => {
                let outcome = Outcome::of_answer(*answer, &message_id, known.attempts() <= 1);
                return Stage::Decide(known, outcome.unwrap_or(Outcome::Unknown).into());
            }
            Look::Silent if was_asked => {}
            Look::Silent | Look::Unanswered => return Stage::Decide(known, Outcome::Unknown.into()),
        }
        tracing::warn!(
            function = "sender",
            message_id,
            "message {message_id} is sent anew: its outcome stayed unknown"
        );
        Stage::Attempt(known)
    }

    /// Asks at every delay that is still to come, and once for those that have passed. `Some(Err)` when the log stayed
    /// silent, `None` when the lane is left.
    async fn ask_log(&self, message_id: &str, intent_at_ms: i64) -> Option<Result<Answer, Silence>> {
        let age_ms = Timestamp::now().as_millisecond().saturating_sub(intent_at_ms);
        let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
        let started = Instant::now();
        let settings = &self.shared.settings;
        // Never before the call itself must have ended.
        let mut due: Vec<Duration> = settings
            .lookup_delays
            .iter()
            .map(|delay| (*delay).max(settings.send_timeout).saturating_sub(age))
            .collect();
        due.dedup();
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
                    Look::Found(answer) => return Some(Ok(*answer)),
                    Look::Silent => {
                        silence = Silence::Silent;
                        break;
                    }
                    Look::Unanswered if Some(wait) != last || repeats >= REPEATS_MAX => break,
                    Look::Unanswered => {}
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
