//! Whether a command's id was used before, and for which command: for clients that publish commands and wait for their
//! results.

use bsp::{ChannelId, CommandId};
use bus::ledger::{LedgerError, LedgerKey};
use bus::{Bus, Delivery};
use proto::v1::SendCommand;

use crate::command;
use crate::ledger::record::Record;

/// State of a command id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdUse {
    /// The ledger has no entry for it: it is new, or its command is pending.
    NotYet,
    /// It was used for this command.
    ForThis,
    /// It was used for another command, which the result is about. This command will never be sent.
    ForAnother,
}

/// Reads the state of a command's id from the ledger. A different content, recipient, context or deadline makes another
/// command.
///
/// # Errors
/// [`LedgerError::Read`].
pub async fn used(bus: &Bus, channel: &ChannelId, command: &SendCommand) -> Result<IdUse, LedgerError> {
    let Some(id) = CommandId::parse(&command.command_id) else { return Ok(IdUse::NotYet) };
    let entry = bus.ledger_read(&LedgerKey::new(channel, &id)).await?;
    // An entry of another version counts as one for this command: the sender of that version can read it.
    let digest = entry.and_then(|entry| Record::from_bytes(&entry.value)).map(|record| record.digest);
    Ok(match digest {
        None => IdUse::NotYet,
        Some(digest) if digest == command::digest(command) => IdUse::ForThis,
        Some(_) => IdUse::ForAnother,
    })
}

/// Whether a message of stream COMMANDS is this command.
pub fn is_same(stored: &Delivery, command: &SendCommand) -> bool {
    command::decode(stored).is_ok_and(|stored| command::digest(&stored) == command::digest(command))
}
