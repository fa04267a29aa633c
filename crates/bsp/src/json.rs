//! Reads BSPs' JSON without trusting its types: numbers may be strings and strings may be numbers, fields may
//! be `null` or absent, and new fields appear without notice. Only an object is read as a struct
//! ([`from_str`]).
//!
//! The reason of a rejection never quotes the body, because it is part of logs and dead letters.

mod objects;

use std::cell::Cell;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde_json::value::RawValue;

use crate::parsed::Rejection;
use crate::unread::{self, Place};
pub use objects::{from_slice, from_str};

/// A scalar of any JSON type, as text. Booleans and numbers become their text; `null`, objects and arrays count as
/// absent. A text of a webhook that no reader has used when it is dropped is an [`unread`] member.
#[derive(Debug, Default)]
pub(crate) struct LooseScalar<'a> {
    /// The text as it appears in the body, between the quotes of a string.
    raw: &'a str,
    #[allow(clippy::box_collection, reason = "texts are moved often, and few have escapes")]
    unescaped: Option<Box<String>>,
    is_present: bool,
    is_string: bool,
    /// Whether reads are tracked and no reader has used this text yet.
    is_unread: Cell<bool>,
}

impl<'a> LooseScalar<'a> {
    fn read(raw: &'a str) -> serde_json::Result<Self> {
        let is_string = match raw.as_bytes()[0] {
            b'"' => true,
            b'{' | b'[' => {
                unread::mark(raw);
                return Ok(Self::default());
            }
            b'n' => return Ok(Self::default()),
            _ => false,
        };
        let has_escapes = is_string && raw.contains('\\');
        Ok(Self {
            raw: if is_string { &raw[1..raw.len() - 1] } else { raw },
            unescaped: if has_escapes { Some(Box::new(unescape(raw)?)) } else { None },
            is_present: true,
            is_string,
            is_unread: Cell::new(unread::is_on()),
        })
    }

    /// A part that may be a scalar, as text. An object is left to another reader.
    pub(crate) fn of_part(part: Part<'a>) -> Self {
        let Some(raw) = part.map(RawValue::get).filter(|raw| !raw.starts_with(['{', '['])) else {
            return Self::default();
        };
        unread::mark_read(raw);
        Self::read(raw).unwrap_or_default()
    }
}

impl LooseScalar<'_> {
    fn value(&self) -> &str {
        self.unescaped.as_ref().map_or(self.raw, |text| text.as_str())
    }

    /// The text; empty if it is absent.
    pub(crate) fn as_str(&self) -> &str {
        self.is_unread.set(false);
        self.value()
    }

    /// The text, if the field exists.
    pub(crate) fn present(&self) -> Option<&str> {
        self.is_present.then(|| self.as_str())
    }

    /// The text, if it is not empty.
    pub(crate) fn filled(&self) -> Option<&str> {
        self.present().filter(|text| !text.is_empty())
    }

    /// Marks the text as read, because another text has the same meaning.
    pub(crate) fn pass(&self) {
        self.is_unread.set(false);
    }

    /// Whether the text is empty. This does not mark it as read.
    pub(crate) fn is_empty(&self) -> bool {
        self.value().is_empty()
    }

    pub(crate) fn owned(&self) -> String {
        self.as_str().to_owned()
    }

    /// Whether the text means true.
    pub(crate) fn is_true(&self) -> bool {
        self.as_str().eq_ignore_ascii_case("true")
    }

    /// This text, or the other if this one is empty.
    pub(crate) fn or<'s>(&'s self, other: &'s Self) -> &'s Self {
        if self.is_empty() { other } else { self }
    }

    /// The number in the text; `None` if it is not a number.
    pub(crate) fn number(&self) -> Option<f64> {
        self.as_str().trim().parse::<f64>().ok().filter(|number| number.is_finite())
    }

    /// The whole number in the text, also in the form `2.0`; `None` if it is not a whole number.
    pub(crate) fn whole_number(&self) -> Option<u32> {
        let number = self.number()?;
        let is_whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
        is_whole.then_some(number as u32)
    }
}

impl Drop for LooseScalar<'_> {
    fn drop(&mut self) {
        if self.is_unread.get() && !self.raw.is_empty() {
            let place = Place::of(self.raw);
            let quotes = usize::from(self.is_string);
            unread::mark_place(Place { address: place.address - quotes, length: place.length + 2 * quotes });
        }
    }
}

impl PartialEq for LooseScalar<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// The name by which [`objects`] recognizes a reader of [`LooseScalar`].
const LOOSE_SCALAR: &str = "imchannel::LooseScalar";

impl<'de: 'a, 'a> Deserialize<'de> for LooseScalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Raw;
        impl<'de> Visitor<'de> for Raw {
            type Value = &'de str;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("any JSON")
            }
            fn visit_borrowed_str<E: serde::de::Error>(self, raw: &'de str) -> Result<&'de str, E> {
                Ok(raw)
            }
        }
        // Reads the raw text, so that a number keeps every digit: some ids are longer than 64 bits.
        let raw = deserializer.deserialize_newtype_struct(LOOSE_SCALAR, Raw)?;
        Self::read(raw).map_err(D::Error::custom)
    }
}

/// Resolves the escapes of a string. Half of a surrogate pair, which a text that was cut inside an emoji ends
/// with, becomes the replacement character.
pub(crate) fn unescape(raw: &str) -> serde_json::Result<String> {
    struct Lossy;
    impl serde::de::Visitor<'_> for Lossy {
        type Value = String;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string")
        }
        fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<String, E> {
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
    }
    serde_json::from_str(raw).or_else(|_| serde_json::Deserializer::from_str(raw).deserialize_bytes(Lossy))
}

/// A part of a body that is read later, or not at all. `null` counts as absent.
pub(crate) type Part<'a> = Option<&'a RawValue>;

/// Reads a part that may be absent. `Err(())` if it exists and has another shape.
pub(crate) fn optional<'a, T: Deserialize<'a>>(part: Part<'a>) -> Result<Option<T>, ()> {
    let Some(raw) = part else { return Ok(None) };
    from_str(raw.get()).map(Some).map_err(|_| ())
}

/// Reads a text like [`from_str`] to detect its kind. Read and unread members are not recorded.
pub(crate) fn peek<'a, T: Deserialize<'a>>(text: &'a str) -> serde_json::Result<T> {
    unread::paused(|| from_str(text))
}

/// A part that is passed on as a whole. This marks it as read.
pub(crate) fn whole(part: &RawValue) -> String {
    unread::mark_read(part.get());
    part.get().to_owned()
}

/// The error of a text that cannot be read: a label and a sentence. It does not quote the text.
fn describe_error(error: &serde_json::Error) -> (&'static str, String) {
    use serde_json::error::Category;
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        Category::Eof => ("truncated", format!("truncated JSON at line {line} column {column}")),
        Category::Data => ("wrong_shape", format!("unexpected JSON shape at line {line} column {column}")),
        Category::Syntax | Category::Io => {
            ("no_json", format!("invalid JSON at line {line} column {column}"))
        }
    }
}

impl From<serde_json::Error> for Rejection {
    fn from(error: serde_json::Error) -> Self {
        let (kind, reason) = describe_error(&error);
        Self { kind, reason }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_json_type_becomes_text() {
        let cases = [
            (r#""a\u00e9""#, "aé"),
            ("4", "4"),
            ("-4", "-4"),
            ("2285429234203536773", "2285429234203536773"),
            ("12345678901234567890123", "12345678901234567890123"),
            ("0.000000", "0.000000"),
            (r#""""#, ""),
            (r#""\"""#, "\""),
            ("0.5", "0.5"),
            ("true", "true"),
            (r#""cut \ud83d""#, "cut \u{fffd}\u{fffd}\u{fffd}"),
            (r#""\ud83d\ude00""#, "😀"),
            ("null", ""),
            (r#"{"a":[1]}"#, ""),
            ("[1,[2]]", ""),
        ];
        for (json, expected) in cases {
            let text: LooseScalar<'_> = from_str(json).unwrap();
            assert_eq!(text.as_str(), expected, "{json}");
        }
    }

    #[test]
    fn a_fault_never_quotes_the_body() {
        let error = serde_json::from_str::<u32>(r#""4915112345""#).unwrap_err();
        let (kind, reason) = describe_error(&error);
        assert_eq!(kind, "wrong_shape");
        assert!(!reason.contains("49151"), "{reason}");
    }
}
