//! Reading BSPs' JSON without trusting its types: numbers stand as strings and strings as numbers, fields come
//! as `null` or not at all, and new ones appear unannounced.
//!
//! Reasons for a refusal never quote the body, because they travel to logs and dead letters.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::value::RawValue;

/// A scalar of any JSON type, as its text. Booleans and numbers become their text; `null`, objects and arrays
/// become the empty text, as if the field were absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl Text<'_> {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn owned(&self) -> String {
        self.0.clone().into_owned()
    }

    /// This text, or the other where this one is empty.
    pub(crate) fn or<'s>(&'s self, other: &'s Self) -> &'s Self {
        if self.is_empty() { other } else { self }
    }

    /// The number that the text spells, or `None`.
    pub(crate) fn number(&self) -> Option<f64> {
        self.0.trim().parse::<f64>().ok().filter(|number| number.is_finite())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // By way of the raw text, so that a number keeps every digit: ids longer than 64 bits exist.
        let raw = <&'de RawValue>::deserialize(deserializer)?.get();
        match raw.as_bytes()[0] {
            b'"' if !raw.contains('\\') => Ok(Text(Cow::Borrowed(&raw[1..raw.len() - 1]))),
            b'"' => serde_json::from_str(raw).map(|text| Text(Cow::Owned(text))).map_err(D::Error::custom),
            b'{' | b'[' | b'n' => Ok(Text::default()),
            _ => Ok(Text(Cow::Borrowed(raw))),
        }
    }
}

/// A part of a body that is read later, or not at all. `null` and absence are the same.
pub(crate) type Part<'a> = Option<&'a RawValue>;

/// Reads a part that may be absent. `Err(())` when it is there and does not have the shape.
pub(crate) fn optional<'a, T: Deserialize<'a>>(part: Part<'a>) -> Result<Option<T>, ()> {
    let Some(raw) = part else { return Ok(None) };
    serde_json::from_str(raw.get()).map(Some).map_err(|_| ())
}

/// What is wrong with a text that does not read, without quoting it: a label's word and a sentence.
pub(crate) fn fault(error: &serde_json::Error) -> (&'static str, String) {
    use serde_json::error::Category;
    let (line, column) = (error.line(), error.column());
    match error.classify() {
        Category::Eof => ("truncated", format!("the JSON ends too early, at line {line} column {column}")),
        Category::Data => {
            ("wrong_shape", format!("the JSON has another shape, at line {line} column {column}"))
        }
        Category::Syntax | Category::Io => ("no_json", format!("no JSON, at line {line} column {column}")),
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
            ("null", ""),
            (r#"{"a":[1]}"#, ""),
            ("[1,[2]]", ""),
        ];
        for (json, expected) in cases {
            let text: Text<'_> = serde_json::from_str(json).unwrap();
            assert_eq!(text.as_str(), expected, "{json}");
        }
    }

    #[test]
    fn a_fault_never_quotes_the_body() {
        let error = serde_json::from_str::<u32>(r#""4915112345""#).unwrap_err();
        let (kind, reason) = fault(&error);
        assert_eq!(kind, "wrong_shape");
        assert!(!reason.contains("49151"), "{reason}");
    }
}
