//! The names that appear in URLs, subjects and events: those of BSPs, channels, commands and their messages.

use std::fmt;

/// The name of a BSP. Only the registry creates one, so a value proves that the BSP exists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BspId(&'static str);

impl BspId {
    pub(crate) const fn new(id: &'static str) -> Self {
        Self(id)
    }

    /// The name in URLs and subjects: lower-case letters.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Debug for BspId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Display for BspId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Longest channel id, in bytes.
pub const CHANNEL_ID_LENGTH_MAX: usize = 64;

/// Replaces the channel id in the subject of a dead letter whose channel cannot be determined.
pub const UNKNOWN_CHANNEL: &str = "unknown";
/// Replaces the BSP in the subject of a result whose channel is not configured. No BSP has this name.
pub const NO_BSP: &str = "none";
/// Words that cannot be channel ids, because they mean that there is no channel.
pub const RESERVED_CHANNEL_IDS: [&str; 2] = [UNKNOWN_CHANNEL, NO_BSP];

/// A channel's id: 1 to 64 of `A-Z a-z 0-9 _ -`, except [`RESERVED_CHANNEL_IDS`]. So it is one token of a
/// subject and one segment of a URL.
///
/// # Examples
/// ```
/// use bsp::{ChannelId, InvalidChannelId};
///
/// assert_eq!(ChannelId::parse("sales-2")?.as_str(), "sales-2");
/// assert!(matches!(ChannelId::parse("sales.2"), Err(InvalidChannelId::Form)));
/// assert!(matches!(ChannelId::parse("unknown"), Err(InvalidChannelId::Reserved)));
/// # Ok::<(), InvalidChannelId>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(Box<str>);

/// The text is not a valid channel id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidChannelId {
    /// It is empty, too long, or contains a character that a subject token cannot have.
    #[error("invalid channel id: use 1 to {CHANNEL_ID_LENGTH_MAX} letters, digits, '_' or '-'")]
    Form,
    /// It is one of [`RESERVED_CHANNEL_IDS`].
    #[error("reserved channel id: choose another id than 'unknown' and 'none'")]
    Reserved,
}

impl ChannelId {
    /// Validates a channel id.
    ///
    /// # Errors
    /// [`InvalidChannelId`], which describes the error.
    pub fn parse(id: &str) -> Result<Self, InvalidChannelId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if id.is_empty() || id.len() > CHANNEL_ID_LENGTH_MAX || !id.bytes().all(allowed) {
            return Err(InvalidChannelId::Form);
        }
        if RESERVED_CHANNEL_IDS.contains(&id) {
            return Err(InvalidChannelId::Reserved);
        }
        Ok(Self(id.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Prefix of every message id that this gateway chose.
pub const COMMAND_MESSAGE_PREFIX: &str = "imc-";
/// Longest command id, in bytes. With [`COMMAND_MESSAGE_PREFIX`] it has 50 bytes, the limit of the strictest
/// API.
pub const COMMAND_ID_LENGTH_MAX: usize = 46;

/// A command's id: 1 to 46 of `A-Z a-z 0-9 _ -`.
///
/// # Examples
/// ```
/// let id = bsp::CommandId::parse("c-1").expect("a valid id");
/// assert_eq!(id.message_id(), "imc-c-1");
/// assert!(bsp::CommandId::parse("c 1").is_none());
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(Box<str>);

impl CommandId {
    /// Validates a command id; `None` if it is invalid.
    pub fn parse(id: &str) -> Option<Self> {
        is_command_id(id).then(|| Self(id.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of this command's message at the BSP.
    pub fn message_id(&self) -> String {
        format!("{COMMAND_MESSAGE_PREFIX}{}", self.0)
    }
}

/// The command that a message belongs to, by the message's id; empty for a message that this gateway did not
/// send.
pub(crate) fn command_of_message(message_id: &str) -> &str {
    let id = message_id.strip_prefix(COMMAND_MESSAGE_PREFIX);
    id.filter(|id| is_command_id(id)).unwrap_or_default()
}

fn is_command_id(id: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    !id.is_empty() && id.len() <= COMMAND_ID_LENGTH_MAX && id.bytes().all(allowed)
}

impl fmt::Debug for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// Allows a lookup by a part of a URL in a map keyed by channel id, without creating an id.
impl std::borrow::Borrow<str> for ChannelId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_words_are_not_channel_ids() {
        for id in RESERVED_CHANNEL_IDS {
            assert_eq!(ChannelId::parse(id), Err(InvalidChannelId::Reserved), "{id}");
        }
        for id in ["", "has space", "a.b", "*", ">", &"x".repeat(CHANNEL_ID_LENGTH_MAX + 1)] {
            assert_eq!(ChannelId::parse(id), Err(InvalidChannelId::Form), "{id}");
        }
        for id in ["Unknown", "none-1", "a", &"x".repeat(CHANNEL_ID_LENGTH_MAX)] {
            assert_eq!(ChannelId::parse(id).unwrap().as_str(), id);
        }
    }
}
