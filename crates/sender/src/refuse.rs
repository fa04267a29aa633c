//! Commands that cannot be sent: a result where it can be told whose, a dead letter where they cannot be read.

use std::time::Duration;

use bsp::CommandId;
use bus::ledger::LedgerKey;
use bus::{Delivery, PublishError, headers};
use jiff::Timestamp;

use crate::command::Unsendable;
use crate::outcome::{Outcome, Subject};
use crate::publish;
use crate::record::Record;
use crate::send::{Ending, Lane};

/// Between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// It could not be stored, or not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RefuseError {
    /// The ledger does not answer.
    #[error("the ledger does not answer")]
    Ledger,
    /// The bus does not store it.
    #[error("the bus does not store it")]
    Publish(#[from] PublishError),
}

/// Answers it until that is stored or the lane is left.
pub(crate) async fn until_stored(lane: &Lane, delivery: &Delivery, unsendable: &Unsendable) -> Ending {
    loop {
        match once(lane, delivery, unsendable).await {
            Ok(()) => return Ending::Settled,
            Err(error) => tracing::warn!(function = "sender", "a refusal was not stored: {error}"),
        }
        if !lane.pause(RETRY_PAUSE).await {
            return Ending::Left;
        }
    }
}

/// Answers it once.
///
/// # Errors
/// [`RefuseError`]; doing it again does no harm.
pub(crate) async fn once(
    lane: &Lane,
    delivery: &Delivery,
    unsendable: &Unsendable,
) -> Result<(), RefuseError> {
    let (bus, bsp, channel) = (&lane.shared.bus, lane.account.bsp, &lane.account.channel);
    let Unsendable { id, context, faults, dead } = unsendable;
    let now = Timestamp::now();
    let known_id = CommandId::parse(id);
    let mut dead = dead.as_ref().map(|(kind, reason)| (*kind, reason.as_str()));
    let mut is_told = !id.is_empty();
    if let Some(command_id) = &known_id
        && is_of_another(lane, command_id, delivery).await?
    {
        // The result of that id is another command's.
        dead = Some(("reused_command_id", "its command_id was used before, for another message"));
        is_told = false;
    }
    if let Some(why) = dead {
        publish::dead_letter(bus, (bsp, channel), delivery, why, now).await?;
        lane.shared.metrics.dead_letters.inc();
    }
    if is_told {
        let outcome = Outcome::Refused { faults: faults.clone() };
        let message_id = known_id.map(|id| id.message_id()).unwrap_or_default();
        let subject = Subject { bsp, channel, command_id: id, message_id, context, attempts: 0 };
        let traceparent = delivery.headers.get(headers::TRACEPARENT);
        publish::result(bus, (bsp, channel), &outcome.to_result(subject, now), traceparent).await?;
        lane.shared.metrics.result(bsp, "none", outcome.name());
    }
    Ok(())
}

async fn is_of_another(lane: &Lane, id: &CommandId, delivery: &Delivery) -> Result<bool, RefuseError> {
    let key = LedgerKey::new(&lane.account.channel, id);
    let entry = lane.shared.bus.ledger_read(&key).await.map_err(|_| RefuseError::Ledger)?;
    let record = entry.and_then(|entry| Record::from_bytes(&entry.value));
    Ok(record.is_some_and(|record| record.sequence != delivery.sequence))
}
