//! Detects the format of a file from its first bytes, and checks that it matches the declared type.
//!
//! WhatsApp checks the bytes of a file, and reports a mismatch only in a late report. The formats here are
//! those that WhatsApp accepts and those that are most often declared as one of them. Sources: the WHATWG's
//! MIME Sniffing Standard; ISO/IEC 14496-12 (brands of `ftyp`), 11172-3 and 13818-7 (frames of MPEG audio and
//! AAC); RFC 3533 and RFC 7845 (Ogg Opus); RFC 4867 (AMR); PKWARE's APPNOTE and ECMA-376 part 2 (OOXML);
//! MS-CFB (all read 2026-11).
//!
//! The crate `infer` (0.22) was considered. It lacks 3GPP, does not recognize MP3 with a checksum, and checks
//! only the first brand of an MP4, so it would reject valid files.

use super::content_type::{OGG_OPUS, bare};
use super::format::{EXCEL, Format, POWERPOINT, WORD};
use super::{MediaKind, iso, zip};

/// Bytes at the start of a file that are inspected. An OOXML file contains the names of its parts within
/// them.
pub const SNIFFED_BYTES: usize = 4096;

/// The content of a file does not match its declared type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct OtherFormat {
    /// The declared type.
    expected: &'static str,
    found: Format,
}

impl OtherFormat {
    fn text(self) -> String {
        let expected = self.expected;
        match self.found.name() {
            Some(found) => format!("the first bytes are those of {found}, not of {expected}"),
            None => format!("the first bytes are not those of {expected}"),
        }
    }
}

/// Checks that the content of a file matches its declared type. `head` is its beginning: the whole file, or at least
/// [`SNIFFED_BYTES`].
///
/// # Errors
/// [`OtherFormat`], whose text quotes nothing of the file.
pub fn check_first_bytes(expected: &'static str, head: &[u8]) -> Result<(), OtherFormat> {
    let found = format(head);
    if found.fits(bare(expected)) { Ok(()) } else { Err(OtherFormat { expected, found }) }
}

/// The type that the first bytes of a file indicate, among those that WhatsApp accepts for this kind; `None` if they
/// indicate none.
///
/// # Examples
/// ```
/// use bsp::media::{MediaKind, sniff};
///
/// assert_eq!(sniff(MediaKind::Image, b"\x89PNG\r\n\x1a\n"), Some("image/png"));
/// assert_eq!(sniff(MediaKind::Image, b"<!doctype html>"), None);
/// ```
pub fn sniff(kind: MediaKind, head: &[u8]) -> Option<&'static str> {
    let told: &[&str] = match format(head) {
        Format::Jpeg => &["image/jpeg"],
        Format::Png => &["image/png"],
        Format::Pdf => &["application/pdf"],
        Format::OggOpus => &[OGG_OPUS],
        // WhatsApp rejects it. A stored file is served with its actual type.
        Format::Ogg => &["audio/ogg"],
        Format::Amr => &["audio/amr"],
        Format::Aac => &["audio/aac"],
        Format::MpegAudio | Format::Id3 => &["audio/mpeg"],
        Format::ThreeGpp => &["video/3gpp"],
        Format::M4a => &["audio/mp4"],
        Format::Mp4 | Format::Mp4AndThreeGpp => &["video/mp4", "audio/mp4"],
        // The most frequent of the three is used for all.
        Format::WordPackage | Format::OfficePackage => &[WORD],
        Format::ExcelPackage => &[EXCEL],
        Format::PowerPointPackage => &[POWERPOINT],
        Format::Ole => &["application/msword"],
        Format::Text | Format::Html => &["text/plain"],
        Format::Gif
        | Format::Webp
        | Format::Flac
        | Format::Wave
        | Format::QuickTime
        | Format::IsoPicture
        | Format::IsoOther
        | Format::Matroska
        | Format::Zip
        | Format::Unknown => &[],
    };
    told.iter().copied().find(|told| kind.content_types().contains(&bare(told)))
}

pub(super) fn format(head: &[u8]) -> Format {
    let head = &head[..head.len().min(SNIFFED_BYTES)];
    match head {
        [0xff, 0xd8, 0xff, ..] => Format::Jpeg,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Format::Png,
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Format::Gif,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Format::Webp,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => Format::Wave,
        [b'f', b'L', b'a', b'C', ..] => Format::Flac,
        [b'#', b'!', b'A', b'M', b'R', b'\n', ..] => Format::Amr,
        [b'O', b'g', b'g', b'S', 0, ..] => ogg(head),
        [b'I', b'D', b'3', 2..=4, ..] => after_id3(head),
        [0x1a, 0x45, 0xdf, 0xa3, ..] => Format::Matroska,
        [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1, ..] => Format::Ole,
        [b'P', b'K', 3, 4, ..] => zip::format(head),
        // A box of 16 MiB before the film does not count as one.
        [0, _, _, _, b'f', b't', b'y', b'p', ..] => iso::format(head),
        _ => audio_frame(head).unwrap_or_else(|| text(head)),
    }
}

/// RFC 3533 section 6: a head of 27 bytes, the sizes of the segments, and the first packet, which names the codec.
fn ogg(head: &[u8]) -> Format {
    let segments = head.get(26).copied().unwrap_or_default();
    let packet = head.get(27 + usize::from(segments)..).unwrap_or_default();
    if packet.starts_with(b"OpusHead") { Format::OggOpus } else { Format::Ogg }
}

/// ID3v2.4 section 3.1: the size of the tag has four bytes of seven bits.
fn after_id3(head: &[u8]) -> Format {
    let Some(&[flags, a, b, c, d]) = head.get(5..10) else { return Format::Id3 };
    let size = [a, b, c, d].into_iter().fold(0, |size, byte| size << 7 | usize::from(byte & 0x7f));
    let has_footer = flags & 0x10 != 0;
    let behind = head.get(10 + size + if has_footer { 10 } else { 0 }..).unwrap_or_default();
    match behind {
        [b'f', b'L', b'a', b'C', ..] => Format::Flac,
        behind => audio_frame(behind).unwrap_or(Format::Id3),
    }
}

/// A frame of AAC (ADTS, whose layer is 0; or the old ADIF) or of MPEG audio.
fn audio_frame(head: &[u8]) -> Option<Format> {
    let &[0xff, second, third, ..] = head else {
        return head.starts_with(b"ADIF").then_some(Format::Aac);
    };
    if second & 0xf6 == 0xf0 {
        let is_rate = third >> 2 & 0x0f <= 12;
        return is_rate.then_some(Format::Aac);
    }
    let (version, layer) = (second >> 3 & 3, second >> 1 & 3);
    let (bits, rate) = (third >> 4, third >> 2 & 3);
    // Version 1 is invalid. Layer I (3) was never used, and accepting it would mistake the byte order mark of
    // UTF-16 for a frame.
    let is_frame = second >= 0xe0 && version != 1 && matches!(layer, 1 | 2) && bits != 15 && rate != 3;
    is_frame.then_some(Format::MpegAudio)
}

/// The remaining formats: PDF and HTML, which may follow blanks and the UTF-8 byte order mark, and text.
fn text(head: &[u8]) -> Format {
    let begin = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    if begin.starts_with(b"%PDF-") {
        return Format::Pdf;
    }
    let begins = |tag: &&[u8]| begin.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag));
    let is_html = HTML.iter().any(begins);
    match is_text(head) {
        true if is_html => Format::Html,
        true => Format::Text,
        false => Format::Unknown,
    }
}

const HTML: [&[u8]; 6] = [b"<!doctype html", b"<html", b"<head", b"<body", b"<script", b"<!--"];

/// Whether the head contains no byte that text of any encoding never contains (MIME Sniffing Standard,
/// "binary data byte"). UTF-16 contains them, and has a byte order mark.
fn is_text(head: &[u8]) -> bool {
    let is_utf_16 = matches!(head, [0xfe, 0xff, ..] | [0xff, 0xfe, ..]);
    let is_binary = |byte: &u8| matches!(byte, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f);
    !head.is_empty() && (is_utf_16 || !head.iter().any(is_binary))
}
