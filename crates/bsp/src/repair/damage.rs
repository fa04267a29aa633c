//! Finds the values of a body that contain invalid UTF-8.

use std::collections::HashMap;

use serde::de::IgnoredAny;

use crate::json::{self, LooseScalar};
use crate::utf8::{Damaged, PLACEHOLDER};

/// Every damaged text of valid JSON, in one pass.
pub(crate) fn in_json(json: &str) -> Vec<Damaged> {
    let mut found = Vec::new();
    // The key of the next value.
    let mut key = "";
    let mut at = 0;
    while let Some(byte) = json.as_bytes().get(at) {
        match byte {
            b'"' => {
                let end = string_end(json.as_bytes(), at);
                let token = &json[at..end];
                let is_key = json[end..].trim_ascii_start().starts_with(':');
                match (is_key, token.contains(PLACEHOLDER)) {
                    (true, true) => found.push(Damaged::Key),
                    (false, true) => {
                        found.push(Damaged::Value { key: key.to_owned(), value: decoded(token) });
                    }
                    _ => {}
                }
                if is_key {
                    key = token.trim_matches('"');
                }
                at = end;
            }
            // The following values of an enclosing list have no key.
            b'}' => {
                key = "";
                at += 1;
            }
            _ => at += 1,
        }
    }
    found
}

/// Whether one of an object's own keys is damaged or unreadable.
pub(crate) fn in_keys(object: &str) -> bool {
    let members = json::peek::<HashMap<String, IgnoredAny>>(object);
    members.map_or(true, |members| members.keys().any(|key| key.contains(PLACEHOLDER)))
}

fn decoded(token: &str) -> String {
    json::peek::<LooseScalar<'_>>(token).map(|text| text.owned()).unwrap_or_default()
}

/// The position after the closing quote of the string that begins at `start`.
fn string_end(json: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < json.len() {
        match json[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_keys_of_the_object_itself_are_checked() {
        let is_damaged = |json: &str| in_keys(&json.replace('~', "\u{7f}"));
        assert!(is_damaged(r#"{"a~":1}"#) && is_damaged(r#"{"a":1,"\"~":{}}"#));
        assert!(!is_damaged(r#"{"a":{"b~":1},"c":"~"}"#));
    }

    #[test]
    fn damaged_keys_and_values_are_found() {
        let value = |key: &str, value: &str| Damaged::Value {
            key: key.to_owned(),
            value: value.replace('~', "\u{7f}"),
        };
        for (json, found) in [
            (r#"{"a":"x~","b":["y","~"],"c":1}"#, vec![value("a", "x~"), value("b", "~")]),
            (r#"{"a":{"b":1},"c":[{"d":2},"~"]}"#, vec![value("", "~")]),
            (r#"{"a":"\"~\\"}"#, vec![value("a", "\"~\\")]),
            (r#"{"a~" : 1}"#, vec![Damaged::Key]),
            (r#"{"a":{"\"~":"x"}}"#, vec![Damaged::Key]),
            (r#"{"a":"é","b":null}"#, vec![]),
        ] {
            assert_eq!(in_json(&json.replace('~', "\u{7f}")), found, "{json}");
        }
    }
}
