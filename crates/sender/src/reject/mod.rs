//! Commands that cannot be sent: each gets a result, and commands that cannot be decoded become dead letters too.

pub(crate) mod dead_letter;

use std::time::Duration;

use bsp::CommandId;
use bus::ledger::LedgerKey;
use bus::rate_limited_log::RateLimitedLog;
use bus::{Delivery, PublishError};
use jiff::Timestamp;

use crate::command::InvalidCommand;
use crate::context::{Completion, LaneContext};
use crate::ledger::compact::CommandIdentity;
use crate::ledger::record::{NextStep, Record};
use crate::ledger::store_limit::Urgency;
use crate::reject::dead_letter::DeadLetterRequest;
use crate::result::dead_letter_reason::DeadLetterReason;
use crate::result::outcome::{Outcome, ResultContext};
use crate::result::publish::{self, DeadLetter, MayBeSent};

/// Delay between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

static NOT_STORED: RateLimitedLog = RateLimitedLog::new();

/// The result could not be stored, or the ledger could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RejectError {
    /// The ledger does not answer.
    #[error("the ledger did not answer")]
    Ledger,
    /// The bus did not store the result.
    #[error("the result could not be stored")]
    Publish(#[from] PublishError),
}

/// Answers the command, retrying until the result is stored or the lane is closed.
pub(crate) async fn until_stored(
    lane: &LaneContext,
    delivery: &Delivery,
    unsendable: &InvalidCommand,
) -> Completion {
    loop {
        match once(lane, delivery, unsendable).await {
            Ok(()) => return Completion::Done,
            Err(error) => {
                if let Some(turn) = NOT_STORED.next() {
                    tracing::warn!(
                        function = "sender",
                        "the result of an invalid command was not stored, retrying: {error}{turn}"
                    );
                }
            }
        }
        if !lane.pause(RETRY_PAUSE).await {
            return Completion::Released;
        }
    }
}

/// Answers the command once.
///
/// # Errors
/// [`RejectError`]. A retry has no side effects.
pub(crate) async fn once(
    lane: &LaneContext,
    delivery: &Delivery,
    unsendable: &InvalidCommand,
) -> Result<(), RejectError> {
    let (shared, owner) = (&lane.shared, lane.owner());
    let InvalidCommand { id, context, faults, dead } = unsendable;
    let trace = publish::traceparent(delivery);
    let mut dead = dead.clone();
    let mut may_be_sent = false;
    let known = match &CommandId::parse(id) {
        Some(command_id) => known(lane, command_id).await?,
        None => None,
    };
    let attempts = known.as_ref().map_or(0, |record| record.attempts);
    if let Some(record) = known {
        let digest = record.digest.clone();
        match record.next(delivery.sequence, &digest) {
            // The result under that id belongs to another command.
            NextStep::Duplicate | NextStep::IdConflict => dead = Some(DeadLetterReason::ReusedCommandId),
            // A version with other rules accepted it. The rules of this version do not undo what happened to it.
            NextStep::Publish(owed) => {
                let channel = &lane.account.channel;
                let msg_id = publish::msg_id(delivery);
                let result = owed.of(CommandIdentity { channel, command_id: id, msg_id });
                return Ok(publish::result(&shared.bus, owner, &result, trace).await?);
            }
            NextStep::AlreadyPublished => return Ok(()),
            NextStep::LookUp(_) => may_be_sent = true,
            NextStep::Attempt(_) => {}
        }
    }
    if let (Some(dead), false) = (&dead, may_be_sent) {
        let is_used = *dead == DeadLetterReason::ReusedCommandId;
        let (faults, attempts) = if is_used { (&[][..], 0) } else { (&faults[..], attempts) };
        let content = "none";
        let request =
            DeadLetterRequest { owner, delivery, dead, faults, command_id: id, context, attempts, content };
        return Ok(dead_letter::dead_letter(shared, request).await?);
    }
    let now = Timestamp::now();
    if let Some(dead) = &dead {
        dead_letter::store(shared, DeadLetter { owner, delivery, dead, sent: MayBeSent::Yes }, now).await?;
    }
    let outcome = if may_be_sent { Outcome::Unknown } else { Outcome::Refused { faults: faults.clone() } };
    let result = outcome.to_result(ResultContext { owner, delivery, command_id: id, context, attempts }, now);
    publish::result(&shared.bus, owner, &result, trace).await?;
    shared.dead_lettered.remove(delivery.sequence);
    shared.metrics.result(owner, "none", outcome.name());
    Ok(())
}

/// Reads the ledger entry of the command's id.
async fn known(lane: &LaneContext, id: &CommandId) -> Result<Option<Record>, RejectError> {
    let key = LedgerKey::new(&lane.account.channel, id);
    let _permit = tokio::select! {
        permit = lane.shared.ledger_limit.permit(&lane.account.channel, Urgency::Begins) => permit,
        () = lane.closing.cancelled() => return Err(RejectError::Ledger),
    };
    let entry = lane.shared.bus.ledger_read(&key).await.map_err(|_| RejectError::Ledger)?;
    Ok(entry.and_then(|entry| Record::from_bytes(&entry.value)))
}
