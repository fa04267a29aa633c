//! Handles invalid UTF-8 in a body, as in a text that was cut inside a character or that has another charset.
//!
//! While such a body is read, [`STAND_IN`] replaces each invalid byte at its offset. When an item has become
//! an event, [`mend_report`] and [`mend_message`] replace it in text for people; events about the account and
//! about customers are only checked ([`has_no_stand_in`]). In any other field (an id, a type, a status, a
//! number, a code, a time) it would be a wrong value, so the item is rejected. It is also rejected if a value
//! of the item that is neither such text nor under one of the BSP's [text
//! keys](crate::provider::Profile::text_keys) contains it, because that value may have determined the kind of
//! the event.

mod damage;
mod words;

use std::borrow::Cow;
use std::collections::HashSet;

use percent_encoding::percent_decode;
use proto::v1::{InboundMessage, ReportEvent};
use serde::Serialize;

use crate::parsed::Refusal;
pub(crate) use damage::{Damaged, in_json, in_keys};

/// Replaces one invalid byte: the control character DEL. It is one byte long, so that offsets in the text are offsets
/// in the body, and JSON allows it in strings. It has this meaning only in a body with invalid UTF-8.
pub(crate) const STAND_IN: char = '\u{7f}';

/// The byte order mark, which some senders put before the body.
pub(crate) const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Whether a body is valid UTF-8. A form must also be valid after decoding.
pub fn is_utf8(media_type: &str, body: &[u8]) -> bool {
    let is_form = media_type == "application/x-www-form-urlencoded";
    std::str::from_utf8(body).is_ok() && (!is_form || percent_decode(body).decode_utf8().is_ok())
}

/// Bytes as text of the same length, with [`STAND_IN`] for each invalid byte. Borrowed if all bytes are
/// valid.
pub(crate) fn readable(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(std::iter::repeat_n(STAND_IN, chunk.invalid().len()));
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

/// The replacements in a body.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    /// The names of the event fields, one for each.
    pub(crate) fields: Vec<&'static str>,
    /// The replaced texts of the current item, as they appear in the body.
    pub(crate) texts: HashSet<String>,
}

/// Replaces invalid bytes in the texts of a report.
///
/// # Errors
/// A rejection if another field contains such bytes too.
pub(crate) fn mend_report(report: &mut ReportEvent, replaced: &mut Replaced) -> Result<(), Refusal> {
    replaced.of_report(report);
    has_no_stand_in(report)
}

/// As [`mend_report`], for a message.
///
/// # Errors
/// As [`mend_report`].
pub(crate) fn mend_message(message: &mut InboundMessage, replaced: &mut Replaced) -> Result<(), Refusal> {
    replaced.of_message(message);
    has_no_stand_in(message)
}

/// Checks every field, including fields of later versions. Bodies with invalid bytes are rare, so the cost is
/// acceptable. Events about the account and about customers have no texts to replace: each contains the BSP's
/// object with its texts, and that object contains ids too.
///
/// # Errors
/// A rejection if a field contains such bytes.
pub(crate) fn has_no_stand_in(event: &impl Serialize) -> Result<(), Refusal> {
    match serde_json::to_string(event) {
        Ok(json) if !json.contains(STAND_IN) => Ok(()),
        _ => Err(Refusal::no_utf8()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_the_length_of_its_bytes() {
        let bytes = b"\xef\xbb\xbfcaf\xe9, \xf0\x9f\x98 and \xc3\xa9";
        let text = readable(bytes);
        assert_eq!(text, "\u{feff}caf\u{7f}, \u{7f}\u{7f}\u{7f} and é");
        assert_eq!(text.len(), bytes.len());
        assert!(matches!(readable("é".as_bytes()), Cow::Borrowed("é")));
    }

    #[test]
    fn a_form_is_utf8_once_it_is_decoded() {
        let form = "application/x-www-form-urlencoded";
        assert!(is_utf8(form, b"Body=%C3%A9&x=%zz") && is_utf8("application/json", b"%FF"));
        assert!(!is_utf8(form, b"Body=%E9") && !is_utf8(form, b"Body=\xe9"));
        assert!(!is_utf8("application/json", b"\"\xe9\""));
    }
}
