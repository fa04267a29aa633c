//! The two names that stand in every URL, subject and event: the BSP's and the channel's.

use std::fmt;

/// A BSP that this gateway knows. Only the registry makes one, so holding one proves that the BSP exists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BspId(&'static str);

impl BspId {
    pub(crate) const fn new(id: &'static str) -> Self {
        Self(id)
    }

    /// The name as it stands in URLs and subjects: lower-case letters.
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

/// The longest channel id.
pub const CHANNEL_ID_LENGTH_MAX: usize = 64;

/// A channel's id: 1 to 64 of `A-Z a-z 0-9 _ -`, so that it is one token of a subject and one segment of a URL.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(Box<str>);

/// A text that cannot be a channel's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a channel id has 1 to {CHANNEL_ID_LENGTH_MAX} letters, digits, '_' or '-'")]
pub struct InvalidChannelId;

impl ChannelId {
    /// Checks `id` and takes it.
    ///
    /// # Errors
    /// [`InvalidChannelId`] when it is empty, too long, or has a character that a subject token may not have.
    pub fn parse(id: &str) -> Result<Self, InvalidChannelId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if id.is_empty() || id.len() > CHANNEL_ID_LENGTH_MAX || !id.bytes().all(allowed) {
            return Err(InvalidChannelId);
        }
        Ok(Self(id.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// Lets a map keyed by channel id be asked with a piece of a URL, without building an id first.
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
