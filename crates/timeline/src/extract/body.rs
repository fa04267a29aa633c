//! The body of a row: the message as JSON if it is small.

use std::io;

use bsp::Profile;
use bytes::Bytes;
use proto::v1::Attempt;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::extract::{Bodies, Extractor, text};

/// Longest body with personal data masked, in bytes. A longer one is left out, because the message itself is in its stream.
pub(super) const MASKED_BYTES_MAX: usize = 1024;
/// Longest body of the answer about one message, in bytes. The largest webhooks are four times as long.
pub(super) const MASKED_LONG_BYTES_MAX: usize = 256 * 1024;
/// Longest body as it is, in bytes.
pub(super) const FULL_BYTES_MAX: usize = 16 * 1024;

/// The body of a message; empty if it is too long. `mask` changes the message.
pub(super) fn of<T: Serialize>(extractor: &Extractor, message: &mut T, mask: fn(&mut T)) -> String {
    match extractor.bodies {
        Bodies::Masked | Bodies::MaskedLong => mask(message),
        Bodies::Full => {}
    }
    json(message, bytes_max(extractor.bodies))
}

const fn bytes_max(bodies: Bodies) -> usize {
    match bodies {
        Bodies::Masked => MASKED_BYTES_MAX,
        Bodies::MaskedLong => MASKED_LONG_BYTES_MAX,
        Bodies::Full => FULL_BYTES_MAX,
    }
}

/// The body of a webhook's bytes; empty if it is too long, or if it is to be masked and its BSP is not known.
pub(super) fn of_bytes(extractor: &Extractor, payload: &Bytes, profile: Option<&Profile>) -> String {
    let bytes_max = bytes_max(extractor.bodies);
    let text = match (extractor.bodies, profile) {
        // The masked form is rarely much shorter. To make it of a long payload costs time.
        (Bodies::Masked | Bodies::MaskedLong, Some(profile)) if payload.len() <= 4 * bytes_max => {
            profile.masked(payload)
        }
        (Bodies::Full, _) if payload.len() <= bytes_max => String::from_utf8_lossy(payload).into_owned(),
        _ => return String::new(),
    };
    if is_json(&text) {
        return if text.len() <= bytes_max { one_line(&text) } else { String::new() };
    }
    json(&text, bytes_max)
}

/// Between the values of JSON, a control character is white space.
fn one_line(json: &str) -> String {
    escaped(json.replace(|c: char| c.is_ascii_control(), " "))
}

/// The request and the response of a call; without the request, or empty, if they are too long.
pub(super) fn of_attempt(bodies: Bodies, attempt: &Attempt) -> String {
    // The sender has masked and cut them, also where rows keep bodies as they are.
    let bytes_max = if bodies == Bodies::MaskedLong { MASKED_LONG_BYTES_MAX } else { MASKED_BYTES_MAX };
    let both = serde_json::json!({ "request": attempt.request, "response": attempt.response });
    match json(&both, bytes_max) {
        cut if cut.is_empty() => json(&serde_json::json!({ "response": attempt.response }), bytes_max),
        whole => whole,
    }
}

/// Whether a text is JSON.
pub(super) fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Empty if it is longer than `bytes_max`, or cannot be written as JSON: an enum's number that this version does not know.
fn json(value: &impl Serialize, bytes_max: usize) -> String {
    let mut limited = Limited { bytes: Vec::with_capacity(MASKED_BYTES_MAX), bytes_max };
    if serde_json::to_writer(&mut limited, value).is_err() {
        return String::new();
    }
    escaped(String::from_utf8(limited.bytes).unwrap_or_default())
}

/// JSON escapes only the older control characters. Others can be in its strings only, so that an escape has the same meaning.
fn escaped(json: String) -> String {
    if json.is_ascii() || !json.contains(text::is_hidden) {
        return json;
    }
    let mut safe = String::with_capacity(json.len() + 32);
    for c in json.chars() {
        if text::is_hidden(c) {
            safe.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Ends with an error where it would become too long, so that a long message costs no more than a short one.
struct Limited {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl io::Write for Limited {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + part.len() > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
