//! Decodes a command of the bus, validates it and computes its deadline. Pure.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bsp::ChannelId;
use bsp::command::{self, CONTEXT_LENGTH_MAX, Command, ReceivedCommand, RejectedCommand, Undecodable};
use bus::{Delivery, headers};
use jiff::Timestamp;
use prost::Message;
use proto::v1::SendCommand;
use sha2::{Digest, Sha256};

use crate::ledger::command_key::CommandKey;
use crate::ledger::compact::CommandIdentity;
use crate::result::dead_letter_reason::DeadLetterReason;
use crate::result::publish;

/// Longest age at which a command is sent: an hour less than the stream keeps it.
const TTL_MAX: Duration = Duration::from_secs(23 * 3600);
/// Characters of an invalid command id that are kept.
const ODD_ID_LENGTH_MAX: usize = 256;

/// A command that may be sent.
#[derive(Debug)]
pub(crate) struct PendingCommand {
    pub(crate) command: Command,
    /// The stored message.
    pub(crate) delivery: Arc<Delivery>,
    /// Hash of the command, which shows whether two commands of the same id are the same.
    pub(crate) digest: String,
    /// Time after which the command is not sent.
    pub(crate) deadline: Timestamp,
}

impl PendingCommand {
    /// What identifies the command in its ledger entry. `channel` is the channel of its lane.
    pub(crate) fn key<'a>(&'a self, channel: &'a ChannelId) -> CommandKey<'a> {
        let identity = CommandIdentity {
            channel,
            command_id: self.command.id.as_str(),
            msg_id: publish::msg_id(&self.delivery),
        };
        CommandKey { sequence: self.delivery.sequence, digest: &self.digest, identity }
    }

    /// The trace that the command belongs to, if there is one.
    pub(crate) fn traceparent(&self) -> Option<&str> {
        publish::traceparent(&self.delivery)
    }

    /// Returns the time until the deadline, or zero after it.
    pub(crate) fn time_left(&self) -> Duration {
        Duration::try_from(self.deadline.duration_since(Timestamp::now())).unwrap_or_default()
    }
}

/// A command that cannot be sent.
#[derive(Debug)]
pub(crate) struct InvalidCommand {
    /// The id without control characters; empty if it cannot be decoded.
    pub(crate) id: String,
    pub(crate) context: String,
    pub(crate) faults: Vec<proto::v1::CommandFault>,
    /// Why it is a dead letter too. `None` for a command that was decoded but is invalid.
    pub(crate) dead: Option<DeadLetterReason>,
}

impl InvalidCommand {
    /// Returns one without an id, for a command whose decoding panics.
    pub(crate) fn panicked() -> Self {
        Self {
            id: String::new(),
            context: String::new(),
            faults: Vec::new(),
            dead: Some(DeadLetterReason::Panicked),
        }
    }
}

/// Returns one for a command that can be decoded but whose processing panics every time.
pub(crate) fn panicked(delivery: &Delivery) -> InvalidCommand {
    let Summary { command_id, context } = summarize(delivery);
    InvalidCommand { id: command_id, context, ..InvalidCommand::panicked() }
}

/// Decodes and validates a stored command. It catches panics: otherwise such a command would stop every lane that
/// receives it.
///
/// # Errors
/// [`InvalidCommand`] if it cannot be decoded or is invalid.
pub(crate) fn read(channel: &ChannelId, delivery: &Arc<Delivery>) -> Result<PendingCommand, InvalidCommand> {
    let reading = AssertUnwindSafe(|| read_whole(channel, delivery));
    std::panic::catch_unwind(reading).unwrap_or_else(|_| Err(InvalidCommand::panicked()))
}

fn read_whole(channel: &ChannelId, delivery: &Arc<Delivery>) -> Result<PendingCommand, InvalidCommand> {
    let decoded = decode(delivery)?;
    let command = command::check(ReceivedCommand { channel, command: &decoded })
        .map_err(|refused| invalid(refused, &decoded.command_id))?;
    let end = last_deadline(delivery);
    Ok(PendingCommand {
        deadline: command.not_after.map_or(end, |not_after| not_after.min(end)),
        command,
        delivery: Arc::clone(delivery),
        digest: digest(&decoded),
    })
}

/// Returns a hash that tells two commands of the same id apart.
pub(crate) fn digest(command: &SendCommand) -> String {
    hex::encode(&Sha256::digest(command.encode_to_vec())[..8])
}

/// The latest deadline that a stored command can have.
pub(crate) fn last_deadline(delivery: &Delivery) -> Timestamp {
    delivery.stored_at + TTL_MAX
}

/// The fields of an unvalidated command that its result repeats.
pub(crate) struct Summary {
    /// The id without control characters; empty if it cannot be decoded.
    pub(crate) command_id: String,
    pub(crate) context: String,
}

/// Reads these fields.
pub(crate) fn summarize(delivery: &Delivery) -> Summary {
    let decoding = AssertUnwindSafe(|| decode(delivery));
    match std::panic::catch_unwind(decoding).unwrap_or_else(|_| Err(InvalidCommand::panicked())) {
        Ok(command) => Summary {
            command_id: readable_id(&command.command_id),
            context: command.context.chars().take(CONTEXT_LENGTH_MAX).collect(),
        },
        Err(unsendable) => Summary { command_id: unsendable.id, context: unsendable.context },
    }
}

fn invalid(refused: RejectedCommand, raw_id: &str) -> InvalidCommand {
    let dead = refused.id.is_none().then_some(DeadLetterReason::NoCommandId);
    let id = refused.id.map_or_else(|| readable_id(raw_id), |id| id.as_str().to_owned());
    InvalidCommand { id, context: refused.context, faults: refused.faults, dead }
}

fn readable_id(raw: &str) -> String {
    raw.chars().filter(|c| !c.is_control()).take(ODD_ID_LENGTH_MAX).collect()
}

/// Decodes a stored command.
///
/// # Errors
/// [`InvalidCommand`] with the fault.
pub(crate) fn decode(delivery: &Delivery) -> Result<SendCommand, InvalidCommand> {
    let content_type = delivery.headers.get(headers::CONTENT_TYPE);
    command::decode(content_type, &delivery.payload).map_err(|undecodable| {
        let Undecodable { encoding, command_id, fault } = undecodable;
        let (form, field, rule) = (encoding.name(), &fault.field, &fault.rule);
        InvalidCommand {
            id: readable_id(&command_id),
            context: String::new(),
            dead: Some(DeadLetterReason::Malformed(format!(
                "cannot decode the payload as SendCommand ({form}): {field} {rule}"
            ))),
            faults: vec![fault],
        }
    })
}
