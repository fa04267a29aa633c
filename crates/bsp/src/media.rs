//! What WhatsApp takes as media: kinds, types, sizes, and how a type is told from the first bytes of a file.
//!
//! Sources: Meta's list of supported media types and Infobip's OMNI failover API for the sizes (both read 2026-11).

use std::fmt;

const MIB: u64 = 1024 * 1024;

/// The kinds of media that a command or an upload may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// A picture, 5 MiB at most.
    Image,
    /// A file, 100 MiB at most.
    Document,
    /// A recording, 16 MiB at most.
    Audio,
    /// A film, 16 MiB at most.
    Video,
}

impl MediaKind {
    /// Every kind.
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

    /// The kind of that name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The segment of a media URL that names it.
    pub const fn route(self) -> &'static str {
        match self {
            Self::Image => "getImageMessage",
            Self::Document => "getDocumentMessage",
            Self::Audio => "getAudioMessage",
            Self::Video => "getVideoMessage",
        }
    }

    /// The kind that a segment of a media URL names.
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

    /// The types that WhatsApp takes, lower case and without parameters.
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

    /// The allowed type that a `Content-Type` header names, whatever its case and parameters.
    pub fn allowed(self, content_type: &str) -> Option<&'static str> {
        let bare = content_type.split(';').next().unwrap_or_default().trim();
        self.content_types().iter().copied().find(|allowed| allowed.eq_ignore_ascii_case(bare))
    }
}

/// The id of a file: a UUID in its usual form, 128 bits that nobody can guess.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct MediaId(Box<str>);

impl MediaId {
    /// Checks the form; `None` when it is another.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = |(at, byte): (usize, u8)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        };
        (text.len() == 36 && text.bytes().enumerate().all(fits)).then(|| Self(text.into()))
    }

    /// The id that 128 random bits make.
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

/// Bytes of a file that [`sniff`] looks at.
pub const SNIFFED_BYTES: usize = 64;

/// The type that the first bytes of a file tell, among those that WhatsApp takes for this kind; `None` when they tell none.
pub fn sniff(kind: MediaKind, head: &[u8]) -> Option<&'static str> {
    let told: &[&str] = match head {
        [0xff, 0xd8, 0xff, ..] => &["image/jpeg"],
        [0x89, b'P', b'N', b'G', ..] => &["image/png"],
        [b'%', b'P', b'D', b'F', ..] => &["application/pdf"],
        [b'O', b'g', b'g', b'S', ..] => &["audio/ogg"],
        [b'#', b'!', b'A', b'M', b'R', ..] => &["audio/amr"],
        [b'I', b'D', b'3', ..] => &["audio/mpeg"],
        // A frame of ADTS has a layer of 0, one of MPEG audio has not.
        [0xff, second, ..] if second & 0xf6 == 0xf0 => &["audio/aac"],
        [0xff, second, ..] if second & 0xe0 == 0xe0 => &["audio/mpeg"],
        [_, _, _, _, b'f', b't', b'y', b'p', b'3', b'g', ..] => &["video/3gpp"],
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => &["video/mp4", "audio/mp4"],
        // Word, Excel and PowerPoint share their containers; the most frequent stands for all.
        [b'P', b'K', 3, 4, ..] => {
            &["application/vnd.openxmlformats-officedocument.wordprocessingml.document"]
        }
        [0xd0, 0xcf, 0x11, 0xe0, ..] => &["application/msword"],
        _ => &[],
    };
    let known = told.iter().copied().find(|told| kind.content_types().contains(told));
    known
        .or_else(|| (kind == MediaKind::Document && told.is_empty() && is_text(head)).then_some("text/plain"))
}

fn is_text(head: &[u8]) -> bool {
    let is_cut = |error: std::str::Utf8Error| error.error_len().is_none();
    let is_unicode = std::str::from_utf8(head).map_or_else(is_cut, |_| true);
    !head.is_empty()
        && is_unicode
        && head.iter().all(|byte| *byte >= b' ' || matches!(byte, b'\n' | b'\r' | b'\t'))
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

    #[test]
    fn types_are_told_by_their_first_bytes_and_only_for_their_kind() {
        use MediaKind::{Audio, Document, Image, Video};
        let cases: [(MediaKind, &[u8], Option<&str>); 12] = [
            (Image, b"\xff\xd8\xff\xe0....", Some("image/jpeg")),
            (Image, b"\x89PNG\r\n\x1a\n", Some("image/png")),
            (Document, b"\x89PNG\r\n\x1a\n", None),
            (Document, b"%PDF-1.7", Some("application/pdf")),
            (Document, "grüß dich".as_bytes(), Some("text/plain")),
            (Document, b"\x00\x01\x02", None),
            (Video, b"\x00\x00\x00\x18ftypmp42", Some("video/mp4")),
            (Audio, b"\x00\x00\x00\x18ftypM4A ", Some("audio/mp4")),
            (Video, b"\x00\x00\x00\x18ftyp3gp5", Some("video/3gpp")),
            (Audio, b"OggS", Some("audio/ogg")),
            (Image, b"<html>", None),
            (Document, b"", None),
        ];
        for (kind, head, expected) in cases {
            assert_eq!(sniff(kind, head), expected, "{kind:?} {head:?}");
        }
    }

    #[test]
    fn parameters_and_case_of_a_type_do_not_matter() {
        assert_eq!(MediaKind::Document.allowed("Text/Plain; charset=utf-8"), Some("text/plain"));
        assert_eq!(MediaKind::Image.allowed("image/webp"), None);
    }
}
