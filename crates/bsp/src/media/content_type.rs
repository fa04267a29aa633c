//! Maps a `Content-Type` to a type that WhatsApp accepts, including the other names that programs use for
//! these types.

use super::MediaKind;

/// Ogg with its codec, which Meta's list of supported media types requires ("OPUS codecs only; base audio/ogg
/// not supported", read 2026-11).
pub const OGG_OPUS: &str = "audio/ogg; codecs=opus";
const OGG: &str = "audio/ogg";

/// Other names of the types: older names, and names that browsers, phones and libraries use.
const ALIASES: &[(&str, &str)] = &[
    ("image/jpg", "image/jpeg"),
    ("image/pjpeg", "image/jpeg"),
    ("image/x-png", "image/png"),
    ("audio/mp3", "audio/mpeg"),
    ("audio/x-mp3", "audio/mpeg"),
    ("audio/mpeg3", "audio/mpeg"),
    ("audio/x-mpeg-3", "audio/mpeg"),
    ("audio/x-mpeg", "audio/mpeg"),
    ("audio/mpg", "audio/mpeg"),
    ("audio/m4a", "audio/mp4"),
    ("audio/x-m4a", "audio/mp4"),
    ("audio/x-mp4", "audio/mp4"),
    ("audio/mp4a-latm", "audio/mp4"),
    ("audio/x-aac", "audio/aac"),
    ("audio/aacp", "audio/aac"),
    ("audio/vnd.dlna.adts", "audio/aac"),
    ("audio/x-amr", "audio/amr"),
    ("audio/opus", OGG_OPUS),
    ("audio/x-opus", OGG_OPUS),
    ("audio/x-opus+ogg", OGG_OPUS),
    ("audio/x-ogg", OGG),
    ("application/ogg", OGG),
    ("video/m4v", "video/mp4"),
    ("video/x-m4v", "video/mp4"),
    ("video/3gp", "video/3gpp"),
    ("application/x-pdf", "application/pdf"),
    ("application/vnd.ms-word", "application/msword"),
    ("application/x-msword", "application/msword"),
    ("application/excel", "application/vnd.ms-excel"),
    ("application/msexcel", "application/vnd.ms-excel"),
    ("application/x-msexcel", "application/vnd.ms-excel"),
    ("application/powerpoint", "application/vnd.ms-powerpoint"),
    ("application/mspowerpoint", "application/vnd.ms-powerpoint"),
    ("application/x-mspowerpoint", "application/vnd.ms-powerpoint"),
];

/// A type without its parameters.
pub(super) fn bare(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

impl MediaKind {
    /// The type of a `Content-Type` header in WhatsApp's spelling; `None` if WhatsApp does not accept it for this kind.
    /// Case and parameters are ignored, except the codec of Ogg, which must be Opus.
    pub fn allowed(self, content_type: &str) -> Option<&'static str> {
        let name = bare(content_type);
        let known = self.content_types().iter().find(|known| known.eq_ignore_ascii_case(name)).copied();
        let alias =
            || ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(name)).map(|(_, known)| *known);
        let known = known.or_else(alias).filter(|known| self.content_types().contains(&bare(known)))?;
        if bare(known) != OGG {
            return Some(known);
        }
        match codecs(content_type) {
            None => Some(known),
            Some(codecs) if codecs.eq_ignore_ascii_case("opus") => Some(OGG_OPUS),
            Some(_) => None,
        }
    }
}

/// The parameter `codecs` (RFC 6381), without its quotes.
fn codecs(content_type: &str) -> Option<&str> {
    let parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut codecs = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("codecs"));
    codecs.next().map(|(_, value)| value.trim().trim_matches('"').trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_maps_to_an_accepted_type_and_is_not_one_itself() {
        for (alias, known) in ALIASES {
            let takes = |kind: &MediaKind| kind.content_types().contains(&bare(known));
            let kind = MediaKind::ALL.into_iter().find(takes).unwrap_or_else(|| panic!("{alias}"));
            assert_eq!(kind.allowed(&alias.to_uppercase()), Some(*known), "{alias}");
            assert!(!kind.content_types().contains(alias), "{alias}");
        }
    }

    #[test]
    fn case_and_parameters_are_ignored_except_the_codec_of_ogg() {
        use MediaKind::{Audio, Document, Image, Video};
        for (kind, text, expected) in [
            (Document, "Text/Plain; charset=utf-8", Some("text/plain")),
            (Image, "image/webp", None),
            (Image, "application/pdf", None),
            (Image, "", None),
            (Audio, "audio/mp4; codecs=\"mp4a.40.2\"", Some("audio/mp4")),
            (Audio, "audio/ogg", Some("audio/ogg")),
            (Audio, "AUDIO/OGG;Codecs=\"Opus\"", Some(OGG_OPUS)),
            (Audio, "audio/ogg ; charset=binary ; codecs=opus", Some(OGG_OPUS)),
            (Audio, "application/ogg; codecs=opus", Some(OGG_OPUS)),
            (Audio, "audio/ogg; codecs=vorbis", None),
            (Audio, "audio/ogg; codecs=\"opus, vorbis\"", None),
            (Video, "application/ogg", None),
            (Video, "audio/mp4", None),
        ] {
            assert_eq!(kind.allowed(text), expected, "{kind:?} {text}");
        }
    }
}
