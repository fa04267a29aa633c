//! Commands that cannot be sent: each gets a result, and commands that cannot be decoded become dead letters too.

use std::time::Duration;

use bsp::CommandId;
use bus::ledger::LedgerKey;
use bus::seldom::Seldom;
use bus::{Delivery, PublishError};
use jiff::Timestamp;

use crate::command::Unsendable;
use crate::dead::{self, Burial, Dead};
use crate::outcome::{Outcome, Subject};
use crate::publish::{self, Letter, MayBeSent};
use crate::record::{Next, Record};
use crate::send::{Ending, Lane};
use crate::store_limit::Urgency;

/// Delay between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

static NOT_STORED: Seldom = Seldom::new();

/// The result could not be stored, or the ledger could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefuseError {
    /// The ledger does not answer.
    #[error("the ledger did not answer")]
    Ledger,
    /// The bus did not store the result.
    #[error("the result could not be stored")]
    Publish(#[from] PublishError),
}

/// Answers the command, retrying until the result is stored or the lane is closed.
pub(crate) async fn until_stored(lane: &Lane, delivery: &Delivery, unsendable: &Unsendable) -> Ending {
    loop {
        match once(lane, delivery, unsendable).await {
            Ok(()) => return Ending::Settled,
            Err(error) => {
                if let Some(turn) = NOT_STORED.turn() {
                    tracing::warn!(
                        function = "sender",
                        "the result of an invalid command was not stored, retrying: {error}{turn}"
                    );
                }
            }
        }
        if !lane.pause(RETRY_PAUSE).await {
            return Ending::Left;
        }
    }
}

/// Answers the command once.
///
/// # Errors
/// [`RefuseError`]. A retry has no side effects.
pub(crate) async fn once(
    lane: &Lane,
    delivery: &Delivery,
    unsendable: &Unsendable,
) -> Result<(), RefuseError> {
    let (shared, owner) = (&lane.shared, lane.owner());
    let Unsendable { id, context, faults, dead } = unsendable;
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
            Next::Repeated | Next::Other => dead = Some(Dead::ReusedCommandId),
            // A version with other rules accepted it. The rules of this version do not undo what happened to it.
            Next::Publish(result) => return Ok(publish::result(&shared.bus, owner, &result, trace).await?),
            Next::Nothing => return Ok(()),
            Next::LookUp(_) => may_be_sent = true,
            Next::Attempt(_) => {}
        }
    }
    if let (Some(dead), false) = (&dead, may_be_sent) {
        let is_used = *dead == Dead::ReusedCommandId;
        let (faults, attempts) = if is_used { (&[][..], 0) } else { (&faults[..], attempts) };
        let content = "none";
        let burial = Burial { owner, delivery, dead, faults, command_id: id, context, attempts, content };
        return Ok(dead::bury(shared, burial).await?);
    }
    let now = Timestamp::now();
    if let Some(dead) = &dead {
        dead::letter(shared, Letter { owner, delivery, dead, sent: MayBeSent::Yes }, now).await?;
    }
    let outcome = if may_be_sent { Outcome::Unknown } else { Outcome::Refused { faults: faults.clone() } };
    let result = outcome.to_result(Subject { owner, delivery, command_id: id, context, attempts }, now);
    publish::result(&shared.bus, owner, &result, trace).await?;
    shared.lettered.remove(delivery.sequence);
    shared.metrics.result(owner, "none", outcome.name());
    Ok(())
}

/// Reads the ledger entry of the command's id.
async fn known(lane: &Lane, id: &CommandId) -> Result<Option<Record>, RefuseError> {
    let key = LedgerKey::new(&lane.account.channel, id);
    let _place = tokio::select! {
        place = lane.shared.ledger.place(&lane.account.channel, Urgency::Begins) => place,
        () = lane.closing.cancelled() => return Err(RefuseError::Ledger),
    };
    let entry = lane.shared.bus.ledger_read(&key).await.map_err(|_| RefuseError::Ledger)?;
    Ok(entry.and_then(|entry| Record::from_bytes(&entry.value)))
}
