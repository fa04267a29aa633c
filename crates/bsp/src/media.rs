//! The media that WhatsApp accepts: kinds, types and sizes. Module `content_type` has the names of types;
//! module `first_bytes` detects the type of a file.
//!
//! Sources: Meta's list of supported media types and Infobip's OMNI failover API for the sizes (both read 2026-11).

mod content_type;
mod first_bytes;
mod format;
mod iso;
mod zip;

use std::fmt;

pub use content_type::OGG_OPUS;
pub use first_bytes::{OtherFormat, SNIFFED_BYTES, check_first_bytes, sniff};

/// Bytes of a MiB.
const MIB: u64 = 1024 * 1024;

/// Kind of a media file in a command or an upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// A picture, 5 MiB at most.
    Image,
    /// A document, 100 MiB at most.
    Document,
    /// Audio, 16 MiB at most.
    Audio,
    /// A video, 16 MiB at most.
    Video,
}

impl MediaKind {
    /// Every kind of media.
    pub const ALL: [Self; 4] = [Self::Image, Self::Document, Self::Audio, Self::Video];

    /// Its name in parameters and stored data.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Document => "document",
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }

    /// The kind with that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Its segment in media URLs.
    pub const fn route(self) -> &'static str {
        match self {
            Self::Image => "getImageMessage",
            Self::Document => "getDocumentMessage",
            Self::Audio => "getAudioMessage",
            Self::Video => "getVideoMessage",
        }
    }

    /// The kind of a segment in media URLs.
    pub fn of_route(route: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.route() == route)
    }

    /// The largest file, in bytes.
    pub const fn bytes_max(self) -> u64 {
        match self {
            Self::Image => 5 * MIB,
            Self::Audio | Self::Video => 16 * MIB,
            Self::Document => 100 * MIB,
        }
    }

    /// The types that WhatsApp accepts, in lower case and without parameters.
    pub const fn content_types(self) -> &'static [&'static str] {
        match self {
            Self::Image => &["image/jpeg", "image/png"],
            Self::Audio => &["audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"],
            Self::Video => &["video/mp4", "video/3gpp"],
            Self::Document => &[
                "application/pdf",
                "text/plain",
                "application/msword",
                "application/vnd.ms-excel",
                "application/vnd.ms-powerpoint",
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
                "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            ],
        }
    }
}

/// The id of a file: a UUID in its usual form, with 122 random bits.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MediaId(Box<str>);

impl MediaId {
    /// Validates the form; `None` if it is not a UUID.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |(at, byte): (usize, u8)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        };
        (text.len() == 36 && text.bytes().enumerate().all(fits)).then(|| Self(text.into()))
    }

    /// The UUID (version 4) of 128 random bits.
    pub fn from_random(mut bits: [u8; 16]) -> Self {
        // RFC 9562 section 5.4: version 4, variant 10.
        bits[6] = bits[6] & 0x0f | 0x40;
        bits[8] = bits[8] & 0x3f | 0x80;
        let digits = hex::encode(bits);
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        Self(parts.join("-").into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MediaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MediaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The path of a file on the media service.
pub fn path(tenant: &str, kind: MediaKind, id: &MediaId) -> String {
    format!("/{tenant}/imchannel/{}/{id}", kind.route())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_form() {
        let id = MediaId::from_random([0xff; 16]);
        assert_eq!(id.as_str(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(MediaId::parse(id.as_str()), Some(id));
        for bad in
            ["", "ffffffff", "ffffffff-ffff-4fff-bfff-fffffffffff*", "ffffffffffff-4fff-bfff-ffffffffffff-"]
        {
            assert_eq!(MediaId::parse(bad), None, "{bad}");
        }
    }
}
