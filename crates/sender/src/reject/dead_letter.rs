//! Commands that become dead letters: the reason, and the two messages that are stored. The dead letter is for
//! operators. The REJECTED result is for the back end that published the command and waits for an answer.

use bus::{Delivery, PublishError};
use jiff::Timestamp;
use proto::v1::CommandFault;

use crate::context::Shared;
use crate::result::dead_letter_reason::DeadLetterReason;
use crate::result::outcome::{Outcome, ResultContext};
use crate::result::publish::{self, DeadLetter, MayBeSent, Owner};

/// A command that becomes a dead letter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeadLetterRequest<'a> {
    pub(crate) owner: Owner<'a>,
    pub(crate) delivery: &'a Delivery,
    pub(crate) dead: &'a DeadLetterReason,
    pub(crate) faults: &'a [CommandFault],
    /// The id, if it can be decoded; not used if another command has it.
    pub(crate) command_id: &'a str,
    pub(crate) context: &'a str,
    pub(crate) attempts: u32,
    /// Kind of the content, if it was decoded.
    pub(crate) content: &'static str,
}

/// Stores the dead letter and then the result. Both ids are derived from the command's sequence in COMMANDS, so a retry
/// after a crash, or by another replica, stores neither twice.
///
/// # Errors
/// [`PublishError`] if one of them may not be stored. Then the command must not be acknowledged or removed.
pub(crate) async fn dead_letter(shared: &Shared, request: DeadLetterRequest<'_>) -> Result<(), PublishError> {
    let DeadLetterRequest { owner, delivery, dead, faults, context, attempts, .. } = request;
    let now = Timestamp::now();
    store(shared, DeadLetter { owner, delivery, dead, sent: MayBeSent::No }, now).await?;
    // A reader would take a result under an id that was used before for the result of the first command.
    let command_id = if *dead == DeadLetterReason::ReusedCommandId { "" } else { request.command_id };
    let subject = ResultContext { owner, delivery, command_id, context, attempts };
    let outcome = Outcome::Dead { dead: dead.clone(), faults: faults.to_vec() };
    let result = outcome.to_result(subject, now);
    publish::result(&shared.bus, owner, &result, publish::traceparent(delivery)).await?;
    shared.dead_lettered.remove(delivery.sequence);
    shared.metrics.result(owner, request.content, outcome.name());
    Ok(())
}

/// Stores the dead letter of a command, unless this process has already done so.
///
/// # Errors
/// [`PublishError`] if it may not be stored.
pub(crate) async fn store(shared: &Shared, of: DeadLetter<'_>, now: Timestamp) -> Result<(), PublishError> {
    let sequence = of.delivery.sequence;
    if shared.dead_lettered.has(sequence) {
        return Ok(());
    }
    if let Err(error) = publish::dead_letter(&shared.bus, of, now).await {
        if matches!(error, PublishError::Full | PublishError::ChannelFull) {
            shared.metrics.letter_refused(of.owner, error.kind());
        }
        return Err(error);
    }
    shared.dead_lettered.add(sequence);
    shared.metrics.dead_letters.inc();
    Ok(())
}
