//! What is known of a file: the fields of its hash.

use std::collections::HashMap;

use bsp::media::{MediaId, MediaKind};
use jiff::Timestamp;

/// The key of a file.
pub fn data_key(id: &MediaId) -> String {
    format!("IMChannel:MultimediaMessage:{id}")
}

/// The key of what is known of it. The braces put both into one slot of a cluster.
pub(crate) fn meta_key(id: &MediaId) -> String {
    format!("{{{}}}:meta", data_key(id))
}

/// The key of a file that is still being written.
pub(crate) fn unfinished_key(id: &MediaId) -> String {
    format!("{{{}}}:unfinished", data_key(id))
}

/// What is known of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct Meta {
    /// The tenant that it belongs to.
    pub tenant: String,
    /// Its kind.
    pub kind: MediaKind,
    /// Its media type.
    pub content_type: String,
    /// Its size, in bytes.
    pub size: u64,
    /// SHA-256 of it, in hexadecimal digits.
    pub sha256: String,
    /// Its name; empty for none.
    pub file_name: String,
    /// When it was stored.
    pub created_at: Timestamp,
    /// The BSP of the channel that it is for.
    pub bsp: String,
    /// The channel that it is for.
    pub channel: String,
    /// The last command whose message carries its URL; empty while there is none.
    pub command: String,
}

// The name may be personal.
impl std::fmt::Debug for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meta").field("kind", &self.kind).field("size", &self.size).finish_non_exhaustive()
    }
}

pub(crate) const COMMAND: &str = "command";

impl Meta {
    pub(crate) fn to_fields(&self) -> [(&'static str, String); 10] {
        [
            ("tenant", self.tenant.clone()),
            ("kind", self.kind.name().to_owned()),
            ("content_type", self.content_type.clone()),
            ("size", self.size.to_string()),
            ("sha256", self.sha256.clone()),
            ("file_name", self.file_name.clone()),
            ("created_at_ms", self.created_at.as_millisecond().to_string()),
            ("bsp", self.bsp.clone()),
            ("channel", self.channel.clone()),
            (COMMAND, self.command.clone()),
        ]
    }

    /// `None` when the hash is not one of ours.
    pub(crate) fn from_fields(mut fields: HashMap<String, String>) -> Option<Self> {
        let mut take = |name| fields.remove(name);
        Some(Self {
            tenant: take("tenant")?,
            kind: MediaKind::find(&take("kind")?)?,
            content_type: take("content_type")?,
            size: take("size")?.parse().ok()?,
            sha256: take("sha256")?,
            file_name: take("file_name").unwrap_or_default(),
            created_at: Timestamp::from_millisecond(take("created_at_ms")?.parse().ok()?).ok()?,
            bsp: take("bsp").unwrap_or_default(),
            channel: take("channel").unwrap_or_default(),
            command: take(COMMAND).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_comes_back_from_its_fields() {
        let meta = Meta {
            tenant: "t".to_owned(),
            kind: MediaKind::Video,
            content_type: "video/mp4".to_owned(),
            size: 7,
            sha256: "ab".to_owned(),
            file_name: "a b.mp4".to_owned(),
            created_at: Timestamp::from_millisecond(1_700_000_000_123).expect("it is a time"),
            bsp: "infobip".to_owned(),
            channel: "c".to_owned(),
            command: String::new(),
        };
        let fields = meta.to_fields().into_iter().map(|(name, value)| (name.to_owned(), value));
        assert_eq!(Meta::from_fields(fields.collect()), Some(meta));
        assert_eq!(Meta::from_fields(HashMap::new()), None);
    }

    #[test]
    fn the_braces_hold_the_whole_key_of_the_file() {
        let id = MediaId::parse("bb8b8717-5b71-45a7-be04-af9cb746661b").expect("it is an id");
        assert_eq!(data_key(&id), "IMChannel:MultimediaMessage:bb8b8717-5b71-45a7-be04-af9cb746661b");
        assert_eq!(meta_key(&id), format!("{{{}}}:meta", data_key(&id)));
    }
}
