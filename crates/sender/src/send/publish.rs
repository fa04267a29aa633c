//! Stores what a command ends with: its result, or a dead letter and a result if its id was used for another message.

use std::time::Duration;

use bus::PublishError;
use bus::rate_limited_log::RateLimitedLog;
use proto::v1::SendResult;

use super::stage::Stage;
use super::{RETRY_PAUSE, Work};
use crate::context::Completion;
use crate::reject::dead_letter::{self, DeadLetterRequest};
use crate::result::dead_letter_reason::DeadLetterReason;
use crate::result::outcome::ResultContext;
use crate::result::{attempts, publish};

/// Time after a lane was closed for which its results may still wait to be stored.
const RESULT_WAIT_MAX: Duration = Duration::from_secs(5);

static RESULT_NOT_STORED: RateLimitedLog = RateLimitedLog::new();
static LETTER_NOT_STORED: RateLimitedLog = RateLimitedLog::new();

impl Work<'_> {
    /// Stores the result. The ledger has it, so it is not lost if the lane closes before it is stored.
    pub(super) async fn publish(&self, mut result: Box<SendResult>) -> Stage {
        let (lane, job) = (self.lane, self.job);
        loop {
            let stored = tokio::select! {
                stored = publish::result(&lane.shared.bus, lane.owner(), &result, job.traceparent()) => stored,
                () = lane.closed_for(RESULT_WAIT_MAX) => return Stage::RELEASED,
            };
            let Err(error) = stored else { return Stage::End(Completion::Done) };
            if matches!(error, PublishError::TooLarge) && attempts::shrink(&mut result) {
                continue;
            }
            if let Some(turn) = RESULT_NOT_STORED.next() {
                let id = &job.command.id;
                tracing::warn!(
                    function = "sender",
                    "the result of {id} was not stored, retrying: {error}{turn}"
                );
            }
            if !lane.pause(RETRY_PAUSE).await {
                return Stage::RELEASED;
            }
        }
    }

    /// Handles an id that was used for another message: the command becomes a dead letter, its result has no id.
    pub(super) async fn id_conflict(&self) -> Stage {
        let ResultContext { owner, delivery, command_id, context, attempts } = self.result_context(0);
        let request = DeadLetterRequest {
            owner,
            delivery,
            dead: &DeadLetterReason::ReusedCommandId,
            faults: &[],
            command_id,
            context,
            attempts,
            content: self.job.command.content.name(),
        };
        let Err(error) = dead_letter::dead_letter(&self.lane.shared, request).await else {
            return Stage::End(Completion::Done);
        };
        if let Some(turn) = LETTER_NOT_STORED.next() {
            tracing::warn!(
                function = "sender",
                "a dead letter or its result was not stored, retrying: {error}{turn}"
            );
        }
        if self.lane.pause(RETRY_PAUSE).await { Stage::IdConflict } else { Stage::RELEASED }
    }
}
