//! The metadata of a file: the fields of its hash.

use std::time::Duration;

use bsp::media::{MediaId, MediaKind};
use jiff::Timestamp;

/// The Redis key of a file.
pub fn data_key(id: &MediaId) -> String {
    format!("IMChannel:MultimediaMessage:{id}")
}

/// The key of a file's metadata. The braces put both keys into the same hash slot of a cluster.
pub(crate) fn meta_key(id: &MediaId) -> String {
    format!("{{{}}}:meta", data_key(id))
}

/// The key of a file that is still being written.
pub(crate) fn unfinished_key(id: &MediaId) -> String {
    format!("{{{}}}:unfinished", data_key(id))
}

/// Longest TTL of a file, counted from its upload.
pub const TTL_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// Metadata of a file.
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
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
    /// Its name; empty if it has none.
    pub file_name: String,
    /// When it was stored.
    pub created_at: Timestamp,
    /// The BSP of the channel that it is for.
    pub bsp: String,
    /// The channel that it is for.
    pub channel: String,
    /// Id of the last command whose message contains its URL; empty if no command uses it.
    pub command: String,
}

// The file name may be personal data.
impl std::fmt::Debug for Meta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meta").field("kind", &self.kind).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Meta {
    /// Time until [`TTL_MAX`] is reached.
    pub fn remaining_ttl(&self, now: Timestamp) -> Duration {
        let age = Duration::try_from(now.duration_since(self.created_at)).unwrap_or_default();
        TTL_MAX.saturating_sub(age)
    }
}

/// Field that holds the id of the command that refers to the file.
pub(crate) const COMMAND: &str = "command";
/// The fields of the hash.
pub(crate) const FIELDS: [&str; 10] = [
    "tenant",
    "kind",
    "content_type",
    "size",
    "sha256",
    "file_name",
    "created_at_ms",
    "bsp",
    "channel",
    COMMAND,
];

impl Meta {
    /// Names and values, in the order of [`FIELDS`].
    pub(crate) fn to_fields(&self) -> [(&'static str, String); FIELDS.len()] {
        let values = [
            self.tenant.clone(),
            self.kind.name().to_owned(),
            self.content_type.clone(),
            self.size.to_string(),
            self.sha256.clone(),
            self.file_name.clone(),
            self.created_at.as_millisecond().to_string(),
            self.bsp.clone(),
            self.channel.clone(),
            self.command.clone(),
        ];
        let mut names = FIELDS.into_iter();
        values.map(|value| (names.next().unwrap_or_default(), value))
    }

    /// Reads the values of [`FIELDS`], in their order. `None` if another program wrote the hash.
    pub(crate) fn from_values(values: [Option<String>; FIELDS.len()]) -> Option<Self> {
        let [tenant, kind, content_type, size, sha256, file_name, created_at_ms, bsp, channel, command] =
            values;
        Some(Self {
            tenant: tenant?,
            kind: MediaKind::find(&kind?)?,
            content_type: content_type?,
            size: size?.parse().ok()?,
            sha256: sha256?,
            file_name: file_name.unwrap_or_default(),
            created_at: Timestamp::from_millisecond(created_at_ms?.parse().ok()?).ok()?,
            bsp: bsp.unwrap_or_default(),
            channel: channel.unwrap_or_default(),
            command: command.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Meta {
        Meta {
            tenant: "t".to_owned(),
            kind: MediaKind::Video,
            content_type: "video/mp4".to_owned(),
            size: 7,
            sha256: "ab".to_owned(),
            file_name: "a b.mp4".to_owned(),
            created_at: Timestamp::from_millisecond(1_700_000_000_123).expect("a valid time"),
            bsp: "infobip".to_owned(),
            channel: "c".to_owned(),
            command: String::new(),
        }
    }

    #[test]
    fn metadata_survives_the_conversion_to_fields() {
        let meta = example();
        let values = meta.to_fields().map(|(_, value)| Some(value));
        assert_eq!(Meta::from_values(values), Some(meta));
        assert_eq!(Meta::from_values(Default::default()), None);
    }

    #[test]
    fn no_ttl_ends_later_than_a_week_after_the_upload() {
        let at = |second| Timestamp::from_second(second).expect("a valid time");
        let meta = Meta { created_at: at(1_000_000), ..example() };
        let week = 7 * 24 * 3600;
        for (age_s, left_s) in [(0, week), (week - 60, 60), (week, 0), (week + 60, 0)] {
            let left = meta.remaining_ttl(at(1_000_000 + age_s as i64));
            assert_eq!(left, Duration::from_secs(left_s), "{age_s}");
        }
    }

    #[test]
    fn the_braces_contain_the_whole_key_of_the_file() {
        let id = MediaId::parse("bb8b8717-5b71-45a7-be04-af9cb746661b").expect("a valid id");
        assert_eq!(data_key(&id), "IMChannel:MultimediaMessage:bb8b8717-5b71-45a7-be04-af9cb746661b");
        assert_eq!(meta_key(&id), format!("{{{}}}:meta", data_key(&id)));
    }
}
