//! The id of an event. The same report or message has the same id in every retry of the BSP, in every
//! replica, and in every version of the parser.
//!
//! So the id is computed from the BSP's raw values, before they are interpreted, and from no value that the
//! gateway adds.

use sha2::{Digest, Sha256};

use crate::ids::{BspId, ChannelId};

/// Bytes of the hash that make up an id.
const ID_BYTES: usize = 16;

/// The raw values that identify a report or message. A value that the BSP does not send is empty.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EventKey<'a> {
    /// `report`, `message`, `account`, `customer`, or `reconciled` for a report that is read from the message log.
    pub kind: &'static str,
    pub message_id: &'a str,
    /// The raw status of a report, or the raw type of a message. Empty if the id alone identifies the
    /// message.
    pub status: &'a str,
    /// The BSP's time of the event, as it appears in the body. Empty if the only time is that of the body,
    /// which may change in a retry.
    pub time: &'a str,
    pub error_code: &'a str,
    pub recipient: &'a str,
}

impl EventKey<'_> {
    /// 128 bits of SHA-256 as 32 hexadecimal digits. Every part is preceded by its length, so that different
    /// keys are never hashed as the same bytes.
    pub(crate) fn id(&self, bsp: BspId, channel: &ChannelId) -> String {
        let parts = [
            bsp.as_str(),
            channel.as_str(),
            self.kind,
            self.message_id,
            self.status,
            self.time,
            self.error_code,
            self.recipient,
        ];
        hash(&parts)
    }
}

fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut digits = vec![0; 2 * ID_BYTES];
    // Into a slice, because `hex::encode` makes the text character by character.
    hex::encode_to_slice(&hash.finalize()[..ID_BYTES], &mut digits).expect("two digits for each byte");
    String::from_utf8(digits).expect("digits are ASCII")
}

/// The event id of a command's result. The same outcome of the same command has the same id in every replica.
pub fn of_result(bsp: BspId, channel: &ChannelId, command: &str, outcome: &str, error_code: &str) -> String {
    EventKey { kind: "send", message_id: command, status: outcome, error_code, ..EventKey::default() }
        .id(bsp, channel)
}

/// The event id of the result of a stored command whose command id is missing or was used by another command.
/// `sequence` is its sequence in COMMANDS. The id includes the time at which the command was stored, because
/// the sequence restarts at 1 when the stream is created again.
pub fn of_stored_command(sequence: u64, stored_at: jiff::Timestamp) -> String {
    hash(&["stored command", &sequence.to_string(), &stored_at.as_nanosecond().to_string()])
}
