//! The id of an event: the same report or message gives the same id, however often the BSP repeats it,
//! whichever replica works on it, and whatever version of the parser.
//!
//! It is therefore made of the BSP's raw words, before any of them is interpreted, and of nothing that the
//! gateway adds.

use sha2::{Digest, Sha256};

use crate::ids::{BspId, ChannelId};

/// Bytes of the hash that an id consists of.
const ID_BYTES: usize = 16;

/// The raw words that tell one report or message from another. Where the BSP does not say, the text is empty.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct EventKey<'a> {
    /// `report`, `message`, `account` or `customer`.
    pub kind: &'static str,
    pub message_id: &'a str,
    /// The raw status of a report; the raw type of a message, or nothing where its id alone names it.
    pub status: &'a str,
    /// The BSP's time of the event, as it stood in the body; empty where the only time is that of the body, which a
    /// repeat may have anew.
    pub time: &'a str,
    pub error_code: &'a str,
    pub recipient: &'a str,
}

impl EventKey<'_> {
    /// 128 bits of SHA-256 as 32 hexadecimal digits. Every part is preceded by its length, so that no two
    /// different keys are hashed as the same bytes.
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

/// The event id of a command's result: the same outcome of the same command has the same id, in every replica.
pub fn of_result(bsp: BspId, channel: &ChannelId, command: &str, outcome: &str, error_code: &str) -> String {
    EventKey { kind: "send", message_id: command, status: outcome, error_code, ..EventKey::default() }
        .id(bsp, channel)
}

/// The event id of the result of a stored command without a usable command id: it has none, or one that another command
/// has used. `sequence` is its sequence in COMMANDS. The time at which it was stored is part of the id, because a
/// stream that is created again counts from 1 again.
pub fn of_stored_command(sequence: u64, stored_at: jiff::Timestamp) -> String {
    hash(&["stored command", &sequence.to_string(), &stored_at.as_nanosecond().to_string()])
}
