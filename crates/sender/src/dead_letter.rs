//! Commands that become dead letters: the reason, and the two messages that are stored. The dead letter is for
//! operators. The REJECTED result is for the back end that published the command and waits for an answer.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bus::{Delivery, PublishError};
use jiff::Timestamp;
use proto::v1::CommandFault;

use crate::outcome::{Outcome, ResultContext};
use crate::publish::{self, DeadLetter, MayBeSent, Owner};
use crate::send::Shared;

/// Most commands that [`DeadLettered`] holds. Beyond it a dead letter may be stored twice.
const LETTERED_MAX: usize = 100_000;

/// Why a command is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeadLetterReason {
    /// It cannot be decoded. The text is the error.
    Malformed(String),
    /// It has no valid command id.
    NoCommandId,
    /// Its command id was already used for another message.
    ReusedCommandId,
    /// No lane reads its subject.
    NoSuchSubject,
    /// Its channel is not stored.
    NoChannel,
    /// Its channel has no account to send through.
    NoAccount,
    /// Decoding or processing it panics.
    Panicked,
}

impl DeadLetterReason {
    /// Returns the error code of the dead letter, from a fixed set.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::NoCommandId => "no_command_id",
            Self::ReusedCommandId => "reused_command_id",
            Self::NoSuchSubject => "no_such_subject",
            Self::NoChannel => "no_channel",
            Self::NoAccount => "no_account",
            Self::Panicked => "panicked",
        }
    }

    /// Returns the error code of the result.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::NoCommandId => "INVALID_COMMAND",
            Self::ReusedCommandId => "REUSED_COMMAND_ID",
            Self::NoSuchSubject => "NO_SUCH_SUBJECT",
            Self::NoChannel => "NO_CHANNEL",
            Self::NoAccount => "NO_ACCOUNT",
            Self::Panicked => "INTERNAL_FAULT",
        }
    }

    /// Returns a text for the back end's developers.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Malformed(reason) => reason,
            Self::NoCommandId => "missing or invalid field 'command_id'",
            Self::ReusedCommandId => {
                "'command_id' was already used for another message; publish it under a new id"
            }
            Self::NoSuchSubject => {
                "unknown subject; publish to imchannel.command.send.{channel} or imchannel.command.bulk.{channel}"
            }
            Self::NoChannel => {
                "the channel does not exist; apply it with `imchannel channel apply`, or correct the subject"
            }
            Self::NoAccount => "the channel has no account to send through",
            Self::Panicked => "an internal error of the gateway prevented the send",
        }
    }
}

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

/// Sequences of commands whose dead letter this process has stored and whose result it has not. While EVENTS refuses
/// messages, storing the result is retried, and the stream recognizes the id of the dead letter only within its
/// duplicate window. Without this cache DEADLETTERS would fill up with copies.
#[derive(Debug, Default)]
pub(crate) struct DeadLettered(Mutex<HashSet<u64>>);

impl DeadLettered {
    fn has(&self, sequence: u64) -> bool {
        self.lock().contains(&sequence)
    }

    fn add(&self, sequence: u64) {
        let mut all = self.lock();
        if all.len() < LETTERED_MAX {
            all.insert(sequence);
        }
    }

    pub(crate) fn remove(&self, sequence: u64) {
        self.lock().remove(&sequence);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stores the dead letter and then the result. Both ids are derived from the command's sequence in COMMANDS, so a retry
/// after a crash, or by another replica, stores neither twice.
///
/// # Errors
/// [`PublishError`] if one of them may not be stored. Then the command must not be acknowledged or removed.
pub(crate) async fn dead_letter(shared: &Shared, burial: DeadLetterRequest<'_>) -> Result<(), PublishError> {
    let DeadLetterRequest { owner, delivery, dead, faults, context, attempts, .. } = burial;
    let now = Timestamp::now();
    store(shared, DeadLetter { owner, delivery, dead, sent: MayBeSent::No }, now).await?;
    // A reader would take a result under an id that was used before for the result of the first command.
    let command_id = if *dead == DeadLetterReason::ReusedCommandId { "" } else { burial.command_id };
    let subject = ResultContext { owner, delivery, command_id, context, attempts };
    let outcome = Outcome::Dead { dead: dead.clone(), faults: faults.to_vec() };
    let result = outcome.to_result(subject, now);
    publish::result(&shared.bus, owner, &result, publish::traceparent(delivery)).await?;
    shared.lettered.remove(delivery.sequence);
    shared.metrics.result(owner, burial.content, outcome.name());
    Ok(())
}

/// Stores the dead letter of a command, unless this process has already done so.
///
/// # Errors
/// [`PublishError`] if it may not be stored.
pub(crate) async fn store(shared: &Shared, of: DeadLetter<'_>, now: Timestamp) -> Result<(), PublishError> {
    let sequence = of.delivery.sequence;
    if shared.lettered.has(sequence) {
        return Ok(());
    }
    if let Err(error) = publish::dead_letter(&shared.bus, of, now).await {
        if matches!(error, PublishError::Full | PublishError::ChannelFull) {
            shared.metrics.letter_refused(of.owner, error.kind());
        }
        return Err(error);
    }
    shared.lettered.add(sequence);
    shared.metrics.dead_letters.inc();
    Ok(())
}
