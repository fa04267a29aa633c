//! Commands that cannot be sent: a result where it can be told whose, a dead letter where they cannot be read.

use std::time::Duration;

use bsp::CommandId;
use bus::ledger::LedgerKey;
use bus::seldom::Seldom;
use bus::{Delivery, PublishError, headers};
use jiff::Timestamp;

use crate::command::Unsendable;
use crate::outcome::{Outcome, Subject};
use crate::publish;
use crate::record::{Next, Record};
use crate::send::{Ending, Lane};
use crate::store_limit::Urgency;

/// Between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

static NOT_STORED: Seldom = Seldom::new();

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
            Err(error) => {
                if let Some(turn) = NOT_STORED.turn() {
                    tracing::warn!(function = "sender", "a refusal was not stored: {error}{turn}");
                }
            }
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
    let mut outcome = Outcome::Refused { faults: faults.clone() };
    let mut attempts = 0;
    let known = match &known_id {
        Some(command_id) => known(lane, command_id).await?,
        None => None,
    };
    if let Some(record) = known {
        attempts = record.attempts;
        let digest = record.digest.clone();
        match record.next(delivery.sequence, &digest) {
            // The result of that id is another command's.
            Next::Repeated | Next::Other => {
                dead = Some(("reused_command_id", "its command_id was used before, for another message"));
                is_told = false;
            }
            // A version with other rules took it: what came of it then is not undone by the rules of this one.
            Next::Publish(result) => {
                return Ok(publish::result(bus, (bsp, channel), &result, traceparent(delivery)).await?);
            }
            Next::Nothing => return Ok(()),
            Next::LookUp(_) => outcome = Outcome::Unknown,
            Next::Attempt(_) => {}
        }
    }
    if let Some(why) = dead {
        publish::dead_letter(bus, (bsp, channel), delivery, why, now).await?;
        lane.shared.metrics.dead_letters.inc();
    }
    if is_told {
        let message_id = known_id.map(|id| id.message_id()).unwrap_or_default();
        let subject = Subject { bsp, channel, command_id: id, message_id, context, attempts };
        let result = outcome.to_result(subject, now);
        publish::result(bus, (bsp, channel), &result, traceparent(delivery)).await?;
        lane.shared.metrics.result(bsp, "none", outcome.name());
    }
    Ok(())
}

fn traceparent(delivery: &Delivery) -> Option<&str> {
    delivery.headers.get(headers::TRACEPARENT)
}

/// What the ledger holds under the command's id.
async fn known(lane: &Lane, id: &CommandId) -> Result<Option<Record>, RefuseError> {
    let key = LedgerKey::new(&lane.account.channel, id);
    let _place = tokio::select! {
        place = lane.shared.ledger.place(&lane.account.channel, Urgency::Begins) => place,
        () = lane.closing.cancelled() => return Err(RefuseError::Ledger),
    };
    let entry = lane.shared.bus.ledger_read(&key).await.map_err(|_| RefuseError::Ledger)?;
    Ok(entry.and_then(|entry| Record::from_bytes(&entry.value)))
}
