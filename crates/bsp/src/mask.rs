//! Masks bodies for the log: one line, with all values hidden except those under keys that are known to
//! contain no personal data. Values of unknown keys are therefore hidden. The BSP's texts about statuses and
//! errors are shown, with numbers masked, because operators need them to find out why messages fail. WhatsApp's own
//! ids contain the customer's number and are masked everywhere ([`message_id()`]).
//!
//! [`events`] and [`commands`] mask decoded messages.

pub mod commands;
pub mod events;
mod json;
mod links;
mod message_id;
mod parts;

use std::borrow::Cow;

use crate::form::Form;

pub use message_id::{in_text as message_ids, message_id};

/// Text that replaces a hidden value.
pub const MASK: &str = "***";

/// End of a text that was cut.
pub const CUT: &str = "…";

/// Fewest digits of a text that may be a telephone number. The shortest international numbers have 7 digits;
/// the longest codes of BSPs have fewer.
const NUMBER_DIGITS_MIN: usize = 7;

/// Longest key or name that is shown, in bytes. Those of BSPs are shorter.
const NAME_LENGTH_MAX: usize = 64;

/// Longest body in the log, in bytes. The rest is cut.
pub const LOGGED_BYTES_MAX: usize = 8 * 1024;

/// The parts of a body that are not masked in the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unmasked {
    /// Keys whose values are not masked.
    pub keys: &'static [&'static str],
    /// Texts about statuses and errors, which are shown with their numbers masked ([`numbers`]). Each is the
    /// key of an object, a dot, and a key in that object, such as `error.description`. The outermost object
    /// has no name before the dot. `*` after the dot means every key, and such a key may be a path. A form
    /// has no objects: `.ErrorMessage`.
    pub texts: &'static [&'static str],
}

/// A JSON or form body on one line, with all values masked that are not [`Unmasked`]. Malformed JSON is
/// hidden completely.
///
/// # Examples
/// ```
/// use bsp::mask::{self, Unmasked};
///
/// let readable = Unmasked { keys: &["status"], texts: &[] };
/// let shown = mask::body("application/json", br#"{"to":"4915112345","status":"read"}"#, readable);
/// assert_eq!(shown, r#"{"to":"***","status":"read"}"#);
/// ```
pub fn body(media_type: &str, body: &[u8], readable: Unmasked) -> String {
    if media_type == "application/json" {
        let masked = json::masked(body, readable);
        return masked.map_or_else(|| invalid_json(body), cut);
    }
    cut(masked_form(&Form::parse(body), readable))
}

/// Like [`body`] for a text that is known to be JSON.
pub(crate) fn known_json(body: &str, readable: Unmasked) -> String {
    json::masked_known(body, readable).map_or_else(|| invalid_json(body.as_bytes()), cut)
}

fn invalid_json(body: &[u8]) -> String {
    format!("({} bytes of invalid JSON)", body.len())
}

/// A body as received, on one line and cut to [`LOGGED_BYTES_MAX`].
pub fn unmasked(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    cut(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

/// A masked body ([`body`]) for an event: URLs and ids of WhatsApp messages in it are masked too. URLs give access to files,
/// and an id contains a telephone number. Cut to at most `bytes_max` bytes, the last of which are `…` then.
///
/// # Examples
/// ```
/// use bsp::mask;
///
/// assert_eq!(mask::for_event("cannot read https://files.example/secret", 64), "cannot read https://***");
/// assert_eq!(mask::for_event("a long text", 9), "a long…");
/// ```
pub fn for_event(masked: &str, bytes_max: usize) -> String {
    let without_urls = links::masked(masked);
    let shown = message_id::in_text(&without_urls);
    if shown.len() <= bytes_max {
        return shown.into_owned();
    }
    let kept = &shown[..shown.floor_char_boundary(bytes_max.saturating_sub(CUT.len()))];
    [kept, CUT].concat()
}

fn cut(mut text: String) -> String {
    if text.len() > LOGGED_BYTES_MAX {
        text.truncate(text.floor_char_boundary(LOGGED_BYTES_MAX));
        text.push_str(CUT);
    }
    text
}

fn masked_form(form: &Form<'_>, readable: Unmasked) -> String {
    let mut line = String::new();
    for (name, value) in form.fields() {
        if !line.is_empty() {
            line.push('&');
        }
        // A body that is not a form is read as one long name.
        line.push_str(if is_plain_name(name.as_bytes()) { name } else { MASK });
        line.push('=');
        let is_text = || readable.texts.iter().any(|text| text.strip_prefix('.') == Some(name));
        let shown: Cow<'_, str> = if readable.keys.contains(&name) {
            message_id(value)
        } else if is_text() {
            Cow::Owned(numbers(value))
        } else {
            Cow::Borrowed(MASK)
        };
        line.extend(shown.chars().map(|c| if c.is_control() { ' ' } else { c }));
    }
    line
}

/// Whether a BSP's document could contain this key or name.
fn is_plain_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let is_id = || std::str::from_utf8(name).is_ok_and(|name| matches!(message_id(name), Cow::Owned(_)));
    name.len() <= NAME_LENGTH_MAX
        && name.iter().all(plain)
        && !name.iter().all(u8::is_ascii_digit)
        && !is_id()
}

/// A BSP's text about a status or an error, with every possible telephone number masked: seven or more
/// digits, including usual separators. Codes are shorter. WhatsApp's own ids are masked too ([`message_id()`]).
pub fn numbers(text: &str) -> String {
    let text = message_id::in_text(text);
    let mut shown = String::with_capacity(text.len());
    let mut left = &*text;
    while let Some(start) = left.find(char::is_numeric) {
        let number = number_at(&left[start..]);
        let digits = number.chars().filter(|c| c.is_numeric()).count();
        shown.push_str(&left[..start]);
        if digits < NUMBER_DIGITS_MIN {
            shown.push_str(number);
        } else {
            shown.truncate(shown.trim_end_matches('+').len());
            shown.push_str(MASK);
        }
        left = &left[start + number.len()..];
    }
    shown.push_str(left);
    shown
}

/// The digits at the beginning of a text, including separators. Parentheses after a whole number begin
/// something else, such as a code.
fn number_at(text: &str) -> &str {
    let between = |c: char| matches!(c, ' ' | '\u{a0}' | '-' | '.' | '(' | ')' | '/');
    let (mut end, mut digits) = (0, 0);
    for (at, c) in text.char_indices() {
        if c.is_numeric() {
            end = at + c.len_utf8();
            digits += 1;
        } else if !between(c) || (c == '(' && digits >= NUMBER_DIGITS_MIN) {
            break;
        }
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "application/json";

    fn keys(keys: &'static [&'static str]) -> Unmasked {
        Unmasked { keys, texts: &[] }
    }

    #[test]
    fn only_listed_keys_stay_readable() {
        let source = br#"{ "results": [
            {"messageId":"m-1","to":"4915112345","n":7,"none":null,"text":"say \"hi\", {you}",
             "status":{"groupName":"DELIVERED"},"list":["a","b"]} ] }"#;
        let line = body(JSON, source, keys(&["messageId", "groupName"]));
        assert_eq!(
            line,
            r#"{"results":[{"messageId":"m-1","to":"***","n":"***","none":null,"text":"***","status":{"groupName":"DELIVERED"},"list":["***","***"]}]}"#
        );
    }

    #[test]
    fn a_listed_key_does_not_uncover_what_follows_its_object() {
        let line = body(JSON, br#"{"list":[{"messageId":"m-1"},"4915"]}"#, keys(&["messageId"]));
        assert_eq!(line, r#"{"list":[{"messageId":"m-1"},"***"]}"#);
    }

    #[test]
    fn a_cut_body_shows_no_more_than_a_whole_one() {
        let source = br#"{"messageId":"m-1","to":"4915112345","text":"secret"}"#;
        for length in 0..source.len() {
            let line = body(JSON, &source[..length], keys(&["messageId"]));
            assert!(!line.contains("4915") && !line.contains("sec"), "{line}");
        }
    }

    #[test]
    fn forms_are_masked_by_name() {
        let line = body(
            "application/x-www-form-urlencoded",
            b"MessageSid=SM1&To=%2B49151&Body=a%0Ab",
            keys(&["MessageSid", "Body"]),
        );
        assert_eq!(line, "MessageSid=SM1&To=***&Body=a b");
    }

    #[test]
    fn invalid_json_is_hidden_after_a_value() {
        for source in [&br#"{"messageId":"m-1","4915112345"}"#[..], br#"{"messageId":"m" "4915112345"}"#] {
            let line = body(JSON, source, keys(&["messageId"]));
            assert!(!line.contains("4915"), "{line}");
        }
    }

    #[test]
    fn texts_of_errors_are_shown_with_their_numbers_masked() {
        let texts = &[
            "error.description",
            "errors.title",
            ".description",
            "validationErrors.*",
            "error_data.details",
        ];
        let readable = Unmasked { keys: &["code"], texts };
        for (source, line) in [
            (
                r#"{"description":"top","error":{"description":"to +49 151 12345 failed, 131026","name":"x"},"text":"hi"}"#,
                r#"{"description":"top","error":{"description":"to *** failed, 131026","name":"***"},"text":"***"}"#,
            ),
            (
                r#"{"errors":[{"code":1,"title":"a"},{"title":"b","error_data":{"details":["c",4915112345,7]}}],"title":"d"}"#,
                r#"{"errors":[{"code":1,"title":"a"},{"title":"b","error_data":{"details":["c","***",7]}}],"title":"***"}"#,
            ),
            (
                r#"{"validationErrors":{"destinations[0].to":["is no number"],"4915112345":"x","a b":"y"},"a[0]":1}"#,
                r#"{"validationErrors":{"destinations[0].to":["is no number"],"***":"x","***":"y"},"***":"***"}"#,
            ),
            // A digit written as an escape, and a text of the customer under a key with the name of an
            // error's key.
            (
                r#"{"error":{"description":"\u0034915112345"},"message":{"description":"secret"}}"#,
                r#"{"error":{"description":"***"},"message":{"description":"***"}}"#,
            ),
        ] {
            assert_eq!(body(JSON, source.as_bytes(), readable), line);
        }
        let form = "application/x-www-form-urlencoded";
        let readable = Unmasked { keys: &[], texts: &[".ErrorMessage"] };
        let line = body(form, b"ErrorMessage=No+route+to+%2B4915112345+%2863016%29&Body=hi", readable);
        assert_eq!(line, "ErrorMessage=No route to *** (63016)&Body=***");
    }

    #[test]
    fn numbers_of_people_are_masked_and_codes_are_not() {
        for (text, shown) in [
            ("EC_7010, 131026 and 63016", "EC_7010, 131026 and 63016"),
            ("to +49 (0) 151-123.45/6!", "to ***!"),
            ("4915112345", "***"),
            ("user US.13491208655302741918", "user US.***"),
            ("٠١٢٣٤٥٦٧", "***"),
            ("1, 2, 3, 4, 5, 6, 7", "1, 2, 3, 4, 5, 6, 7"),
            ("++4915112345+", "***+"),
            ("", ""),
        ] {
            assert_eq!(numbers(text), shown);
        }
    }

    #[test]
    fn damaged_or_deeply_nested_json_is_hidden() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        for source in ["", "{", r#"{"id":"1",}"#, r#"{"id":"a" "b"}"#, "<html>", &deep] {
            let line = body(JSON, source.as_bytes(), keys(&["id"]));
            assert_eq!(line, format!("({} bytes of invalid JSON)", source.len()));
        }
        assert_eq!(body(JSON, b"\xef\xbb\xbf{\"id\":1}", keys(&["id"])), r#"{"id":1}"#);
    }

    #[test]
    fn an_invalid_name_is_hidden_too() {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(body(form, br#"{"text":"call 4915112345"}"#, keys(&["text"])), "***=***");
        assert_eq!(body(form, b"4915112345=x", keys(&[])), "***=***");
        assert_eq!(
            body(JSON, br#"{"4915112345":1,"Jane Doe":2}"#, keys(&[])),
            r#"{"***":"***","***":"***"}"#
        );
    }

    #[test]
    fn a_body_for_an_event_is_cut_at_a_character_and_says_so() {
        let text = "aé漢😀".repeat(20);
        for bytes_max in 3..text.len() {
            let shown = for_event(&text, bytes_max);
            let kept = shown.strip_suffix(CUT).unwrap();
            assert!(shown.len() <= bytes_max && shown.len() + 4 > bytes_max, "{bytes_max}: {shown}");
            assert!(text.starts_with(kept), "{shown}");
        }
        assert_eq!(for_event(&text, text.len()), text);
        // It is masked before it is cut.
        let long = format!("{} https://m.example/{}", "x".repeat(60), "secret".repeat(10));
        assert_eq!(for_event(&long, 72), format!("{} https://***", "x".repeat(60)));
    }

    #[test]
    fn a_long_body_is_cut_and_stays_on_one_line() {
        let long = format!(r#"{{"messageId":"{}"}}"#, "x".repeat(3 * LOGGED_BYTES_MAX));
        assert!(body(JSON, long.as_bytes(), keys(&["messageId"])).len() <= LOGGED_BYTES_MAX + 4);
        assert_eq!(unmasked(b"a\r\nb"), "a  b");
    }
}
