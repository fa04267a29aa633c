//! Reading a command off the bus: its encoding, its faults, its deadline. Pure.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bsp::ChannelId;
use bsp::command::{self, CONTEXT_LENGTH_MAX, Command, Received, Refused, Undecodable};
use bus::{Delivery, headers};
use jiff::Timestamp;
use prost::Message;
use proto::v1::SendCommand;
use sha2::{Digest, Sha256};

use crate::dead::Dead;
use crate::publish;

/// Age after which no command is sent: an hour before the stream removes it.
const LIFE_MAX: Duration = Duration::from_secs(23 * 3600);
/// Characters that are kept of an invalid command id.
const ODD_ID_LENGTH_MAX: usize = 256;

/// A command that may be sent.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) command: Command,
    /// As it came.
    pub(crate) delivery: Delivery,
    /// Tells whether two commands of the same id are the same.
    pub(crate) digest: String,
    /// After this it is not sent.
    pub(crate) deadline: Timestamp,
}

impl Job {
    /// The trace that it belongs to, where there is one.
    pub(crate) fn traceparent(&self) -> Option<&str> {
        publish::traceparent(&self.delivery)
    }

    /// Until its deadline; zero after it.
    pub(crate) fn time_left(&self) -> Duration {
        Duration::try_from(self.deadline.duration_since(Timestamp::now())).unwrap_or_default()
    }
}

/// A command that cannot be sent.
#[derive(Debug)]
pub(crate) struct Unsendable {
    /// The id as it can be read; empty when it cannot.
    pub(crate) id: String,
    pub(crate) context: String,
    pub(crate) faults: Vec<proto::v1::CommandFault>,
    /// Why it is a dead letter too. `None` for a readable command that breaks a rule.
    pub(crate) dead: Option<Dead>,
}

impl Unsendable {
    /// One of which nothing can be told, because reading it panics.
    pub(crate) fn panicked() -> Self {
        Self { id: String::new(), context: String::new(), faults: Vec::new(), dead: Some(Dead::Panicked) }
    }
}

/// A command that can be read, and on which the work panics again and again.
pub(crate) fn panicked(delivery: &Delivery) -> Unsendable {
    let Told { command_id, context } = told(delivery);
    Unsendable { id: command_id, context, ..Unsendable::panicked() }
}

/// Reads a stored command. One on which that panics would do so again: it would end every lane that takes it.
///
/// # Errors
/// [`Unsendable`] when it is none, or breaks a rule.
pub(crate) fn read(channel: &ChannelId, delivery: &Delivery) -> Result<Job, Unsendable> {
    let reading = AssertUnwindSafe(|| read_whole(channel, delivery));
    std::panic::catch_unwind(reading).unwrap_or_else(|_| Err(Unsendable::panicked()))
}

fn read_whole(channel: &ChannelId, delivery: &Delivery) -> Result<Job, Unsendable> {
    let decoded = decode(delivery)?;
    let command = command::check(Received { channel, command: &decoded })
        .map_err(|refused| unsendable(refused, &decoded.command_id))?;
    let end = last_deadline(delivery);
    Ok(Job {
        deadline: command.not_after.map_or(end, |not_after| not_after.min(end)),
        command,
        delivery: delivery.clone(),
        digest: digest(&decoded),
    })
}

/// Tells two commands of the same id apart.
pub(crate) fn digest(command: &SendCommand) -> String {
    hex::encode(&Sha256::digest(command.encode_to_vec())[..8])
}

/// The latest deadline that a stored command can have.
pub(crate) fn last_deadline(delivery: &Delivery) -> Timestamp {
    delivery.stored_at + LIFE_MAX
}

/// What a result tells of a command that nobody has checked.
pub(crate) struct Told {
    /// As far as it can be read.
    pub(crate) command_id: String,
    pub(crate) context: String,
}

/// Reads as much of a command as its result tells.
pub(crate) fn told(delivery: &Delivery) -> Told {
    let decoding = AssertUnwindSafe(|| decode(delivery));
    match std::panic::catch_unwind(decoding).unwrap_or_else(|_| Err(Unsendable::panicked())) {
        Ok(command) => Told {
            command_id: readable_id(&command.command_id),
            context: command.context.chars().take(CONTEXT_LENGTH_MAX).collect(),
        },
        Err(unsendable) => Told { command_id: unsendable.id, context: unsendable.context },
    }
}

fn unsendable(refused: Refused, raw_id: &str) -> Unsendable {
    let dead = refused.id.is_none().then_some(Dead::NoCommandId);
    let id = refused.id.map_or_else(|| readable_id(raw_id), |id| id.as_str().to_owned());
    Unsendable { id, context: refused.context, faults: refused.faults, dead }
}

fn readable_id(raw: &str) -> String {
    raw.chars().filter(|c| !c.is_control()).take(ODD_ID_LENGTH_MAX).collect()
}

/// Reads the bytes of a stored command.
///
/// # Errors
/// [`Unsendable`] with the fault.
pub(crate) fn decode(delivery: &Delivery) -> Result<SendCommand, Unsendable> {
    let content_type = delivery.headers.get(headers::CONTENT_TYPE);
    command::decode(content_type, &delivery.payload).map_err(|undecodable| {
        let Undecodable { encoding, command_id, fault } = undecodable;
        let (form, field, rule) = (encoding.name(), &fault.field, &fault.rule);
        Unsendable {
            id: readable_id(&command_id),
            context: String::new(),
            dead: Some(Dead::Malformed(format!("the payload is no SendCommand as {form}: {field} {rule}"))),
            faults: vec![fault],
        }
    })
}
