//! Handles invalid UTF-8 in a body, as in a text that was cut inside a character or that has another charset.
//!
//! While such a body is read, [`PLACEHOLDER`] replaces each invalid byte at its offset. Module `repair` decides what
//! becomes of the events.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// Replaces one invalid byte: the control character DEL. It is one byte long, so that offsets in the text are offsets
/// in the body, and JSON allows it in strings. It has this meaning only in a body with invalid UTF-8.
pub(crate) const PLACEHOLDER: char = '\u{7f}';

/// The byte order mark, which some senders put before the body.
pub(crate) const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Whether a body is valid UTF-8. A form must also be valid after decoding.
pub fn is_utf8(media_type: &str, body: &[u8]) -> bool {
    let is_form = media_type == "application/x-www-form-urlencoded";
    std::str::from_utf8(body).is_ok() && (!is_form || percent_decode(body).decode_utf8().is_ok())
}

/// Bytes as text of the same length, with [`PLACEHOLDER`] for each invalid byte. Borrowed if all bytes are
/// valid.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n(PLACEHOLDER, chunk.invalid().len()));
    }
    Cow::Owned(text)
}

/// A text without a leading byte order mark.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// A BSP's response as text: without the byte order mark, and with U+FFFD for invalid UTF-8.
pub(crate) fn of_answer(body: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(body.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(body))
}

/// A text of a body with an invalid byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Damaged {
    /// The value under this key. In a list, the key is that of the list.
    Value { key: String, value: String },
    /// A key. Its value is skipped, because its meaning is unknown.
    Key,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_the_length_of_its_bytes() {
        let bytes = b"\xef\xbb\xbfcaf\xe9, \xf0\x9f\x98 and \xc3\xa9";
        let text = lossy(bytes);
        assert_eq!(text, "\u{feff}caf\u{7f}, \u{7f}\u{7f}\u{7f} and é");
        assert_eq!(text.len(), bytes.len());
        assert!(matches!(lossy("é".as_bytes()), Cow::Borrowed("é")));
    }

    #[test]
    fn a_form_is_utf8_once_it_is_decoded() {
        let form = "application/x-www-form-urlencoded";
        assert!(is_utf8(form, b"Body=%C3%A9&x=%zz") && is_utf8("application/json", b"%FF"));
        assert!(!is_utf8(form, b"Body=%E9") && !is_utf8(form, b"Body=\xe9"));
        assert!(!is_utf8("application/json", b"\"\xe9\""));
    }
}
