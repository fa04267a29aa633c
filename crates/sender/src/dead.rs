//! Commands that become dead letters: why each is one, and the two things that are stored of it. The letter is for operators,
//! the REJECTED result beside it is for whoever published the command and waits for an answer.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bus::{Delivery, PublishError};
use jiff::Timestamp;
use proto::v1::CommandFault;

use crate::outcome::{Outcome, Subject};
use crate::publish::{self, Letter, MayBeSent, Owner};
use crate::send::Shared;

/// Most commands that are remembered as [`Lettered`]. Beyond it a letter may be stored twice.
const LETTERED_MAX: usize = 100_000;

/// Why a command is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dead {
    /// It cannot be decoded; the sentence says why.
    Malformed(String),
    /// It has no usable command id.
    NoCommandId,
    /// Its command id was used before, for another message.
    ReusedCommandId,
    /// No lane reads its subject.
    NoSuchSubject,
    /// Its channel is not stored.
    NoChannel,
    /// Its channel has no account to send through.
    NoAccount,
    /// Reading it, or working on it, panics.
    Panicked,
}

impl Dead {
    /// A word out of a fixed set, for the letter.
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

    /// The code of the result's error.
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

    /// A sentence for the back end's developers.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Malformed(reason) => reason,
            Self::NoCommandId => "the command has no usable 'command_id'",
            Self::ReusedCommandId => "its command_id was used before, for another message",
            Self::NoSuchSubject => {
                "no lane reads its subject: publish to imchannel.command.send.{channel} or imchannel.command.bulk.{channel}"
            }
            Self::NoChannel => "there is no such channel",
            Self::NoAccount => "nothing can be sent through this channel",
            Self::Panicked => "a fault of the gateway kept it from being sent",
        }
    }
}

/// A command that becomes a dead letter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Burial<'a> {
    pub(crate) owner: Owner<'a>,
    pub(crate) delivery: &'a Delivery,
    pub(crate) dead: &'a Dead,
    pub(crate) faults: &'a [CommandFault],
    /// As far as it can be read; not used where another command has it.
    pub(crate) command_id: &'a str,
    pub(crate) context: &'a str,
    pub(crate) attempts: u32,
    /// The kind of its content, where that was read.
    pub(crate) content: &'static str,
}

/// Commands whose letter this process has stored and whose result not yet, by their sequences. While EVENTS takes nothing the
/// result is tried again and again, and a stream recognises the letter's id only for its duplicate window: without this
/// DEADLETTERS would be filled with copies.
#[derive(Debug, Default)]
pub(crate) struct Lettered(Mutex<HashSet<u64>>);

impl Lettered {
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

/// Stores the letter and then the result. Both have ids that are made of the command's place in COMMANDS: whoever does it again,
/// after a crash between them or in another replica, stores neither twice.
///
/// # Errors
/// [`PublishError`] when one of them is not known to be stored: then the command must not be acknowledged or removed.
pub(crate) async fn bury(shared: &Shared, burial: Burial<'_>) -> Result<(), PublishError> {
    let Burial { owner, delivery, dead, faults, context, attempts, .. } = burial;
    let now = Timestamp::now();
    letter(shared, Letter { owner, delivery, dead, sent: MayBeSent::No }, now).await?;
    // Under a used id a reader would take the result for the first command's.
    let command_id = if *dead == Dead::ReusedCommandId { "" } else { burial.command_id };
    let subject = Subject { owner, delivery, command_id, context, attempts };
    let outcome = Outcome::Dead { dead: dead.clone(), faults: faults.to_vec() };
    let result = outcome.to_result(subject, now);
    publish::result(&shared.bus, owner, &result, publish::traceparent(delivery)).await?;
    shared.lettered.remove(delivery.sequence);
    shared.metrics.result(owner, burial.content, outcome.name());
    Ok(())
}

/// Stores the letter of a command, unless this process has done so and has not come to its result yet.
///
/// # Errors
/// [`PublishError`] when it is not known to be stored.
pub(crate) async fn letter(shared: &Shared, of: Letter<'_>, now: Timestamp) -> Result<(), PublishError> {
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
