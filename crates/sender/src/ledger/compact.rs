//! The compact form of a result: what an entry of the ledger must hold of it. Pure.
//!
//! A result repeats its command: ids, sequence, number of calls. A process that needs the result again has the command,
//! because the stream delivers it until it is acknowledged. So the entry holds the rest: the outcome, what the BSP said,
//! the time, and the command's context, which another version may not be able to read from the command.

use bsp::{BspId, ChannelId, CommandId, event_id, registry};
use prost::Message;
use proto::v1::{SendOutcome, SendResult};

/// What a result repeats of its command, besides the sequence and the number of calls, which the entry has.
#[derive(Debug, Clone, Copy)]
pub struct CommandIdentity<'a> {
    /// Its channel.
    pub channel: &'a ChannelId,
    /// Its `command_id`.
    pub command_id: &'a str,
    /// The `Nats-Msg-Id` that the command was published with; empty if it has none.
    pub msg_id: &'a str,
}

/// A result without what can be restored.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactResult {
    bsp: BspId,
    rest: Box<SendResult>,
}

impl CompactResult {
    /// Returns the compact form, or `None` if [`Self::restore`] would not give exactly this result.
    pub(super) fn of(
        result: &SendResult,
        command: CommandIdentity<'_>,
        sequence: u64,
        attempts: u32,
    ) -> Option<Self> {
        let compact = Self::stripped(result.clone())?;
        (compact.clone().restore(command, sequence, attempts) == *result).then_some(compact)
    }

    fn stripped(result: SendResult) -> Option<Self> {
        let bsp = registry::find(&result.bsp)?.profile().id;
        let own_message_id = CommandId::parse(&result.command_id).map(|id| id.message_id());
        let message_id = if Some(&result.message_id) == own_message_id.as_ref() {
            String::new()
        } else {
            result.message_id
        };
        let mut rest = SendResult {
            event_id: String::new(),
            channel_id: String::new(),
            command_id: String::new(),
            message_id,
            command_sequence: 0,
            command_msg_id: String::new(),
            attempts: 0,
            ..result
        };
        if let Some(status) = &mut rest.provider_status
            && status.raw == status.name
        {
            status.raw.clear();
        }
        Some(Self { bsp, rest: Box::new(rest) })
    }

    /// The outcome of the command.
    pub(crate) fn outcome(&self) -> SendOutcome {
        self.rest.outcome()
    }

    /// Returns the result of a command.
    pub(super) fn restore(self, command: CommandIdentity<'_>, sequence: u64, attempts: u32) -> SendResult {
        let Self { bsp, mut rest } = self;
        if let Some(status) = &mut rest.provider_status
            && status.raw.is_empty()
        {
            status.raw.clone_from(&status.name);
        }
        let CommandIdentity { channel, command_id, msg_id } = command;
        let code = rest.error.as_ref().map(|error| error.code.as_str()).unwrap_or_default();
        let outcome = rest.outcome().as_str_name();
        let message_id = if rest.message_id.is_empty() {
            CommandId::parse(command_id).map(|id| id.message_id()).unwrap_or_default()
        } else {
            rest.message_id
        };
        SendResult {
            event_id: event_id::of_result(bsp, channel, command_id, outcome, code),
            channel_id: channel.as_str().to_owned(),
            command_id: command_id.to_owned(),
            message_id,
            command_sequence: sequence,
            command_msg_id: msg_id.to_owned(),
            attempts,
            ..*rest
        }
    }

    pub(super) fn to_protobuf(&self) -> Vec<u8> {
        self.rest.encode_to_vec()
    }

    /// Returns `None` for anything but a result of a BSP that this version has.
    pub(super) fn of_protobuf(bytes: &[u8]) -> Option<Self> {
        let rest = Box::new(SendResult::decode(bytes).ok()?);
        let bsp = registry::find(&rest.bsp)?.profile().id;
        Some(Self { bsp, rest })
    }
}
