//! Bodies as they may stand in a log: on one line, with every value hidden but those under keys that are known
//! to hold nothing personal. A key that nobody thought of is therefore hidden.

use crate::form::Form;
use crate::utf8::BYTE_ORDER_MARK;

/// Stands in place of a hidden value.
pub const MASK: &str = "***";

/// A longer key or name is hidden: it is none of a BSP's.
const NAME_LENGTH_MAX: usize = 64;

/// The longest body that is written to the log, in bytes; the rest is cut off.
pub const LOGGED_BYTES_MAX: usize = 8 * 1024;

/// A JSON or form body on one line, values hidden unless their key is in `logged_keys`.
pub fn body(media_type: &str, body: &[u8], logged_keys: &[&str]) -> String {
    if media_type == "application/json" {
        return cut(json(body.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(body), logged_keys));
    }
    cut(masked_form(&Form::parse(body), logged_keys))
}

/// A body as it came, on one line and cut to [`LOGGED_BYTES_MAX`].
pub fn unmasked(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    cut(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect())
}

fn cut(mut text: String) -> String {
    if text.len() > LOGGED_BYTES_MAX {
        text.truncate(text.floor_char_boundary(LOGGED_BYTES_MAX));
        text.push('…');
    }
    text
}

fn masked_form(form: &Form<'_>, logged_keys: &[&str]) -> String {
    let mut line = String::new();
    for (name, value) in form.fields() {
        if !line.is_empty() {
            line.push('&');
        }
        // A body that is no form at all is one long name.
        line.push_str(if is_plain_name(name.as_bytes()) { name } else { MASK });
        line.push('=');
        if !logged_keys.contains(&name.as_ref()) {
            line.push_str(MASK);
            continue;
        }
        line.extend(value.chars().map(|c| if c.is_control() { ' ' } else { c }));
    }
    line
}

/// Copies the structure of a JSON text and hides its scalars. One pass over the bytes, no tree: this runs for
/// every webhook. A text that is no JSON comes out as some text in which every scalar is hidden just the same.
fn json(body: &[u8], logged_keys: &[&str]) -> String {
    let mut line = Vec::with_capacity(body.len().min(LOGGED_BYTES_MAX) + 64);
    // The key whose value comes next; arrays keep it for all their elements.
    let mut key: &[u8] = b"";
    let mut lists = 0_usize;
    let mut at = 0;
    while at < body.len() && line.len() <= LOGGED_BYTES_MAX {
        let end = match body[at] {
            b'"' => string_end(body, at),
            b'}' | b']' => {
                // What follows in an enclosing array stands under no key of its own.
                key = b"";
                lists = 0;
                line.push(body[at]);
                at += 1;
                continue;
            }
            byte @ (b'{' | b'[' | b',' | b':') => {
                // A key is good for one value, or for all of a list.
                match byte {
                    b'[' => lists += 1,
                    b'{' => lists = 0,
                    b',' if lists == 0 => key = b"",
                    _ => {}
                }
                line.push(byte);
                at += 1;
                continue;
            }
            byte if byte.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            _ => scalar_end(body, at),
        };
        let token = &body[at..end];
        at = end;
        let is_key = token[0] == b'"' && next_is_colon(body, end);
        if is_key {
            key = token.get(1..token.len().saturating_sub(1)).unwrap_or_default();
            line.extend_from_slice(if is_plain_name(key) { token } else { b"\"***\"" });
        } else if token == b"null" || logged_keys.iter().any(|logged| logged.as_bytes() == key) {
            line.extend_from_slice(token);
        } else {
            line.extend_from_slice(b"\"***\"");
        }
        if !is_key && lists == 0 {
            key = b"";
        }
    }
    let text = String::from_utf8_lossy(&line);
    if text.bytes().any(|byte| byte.is_ascii_control()) {
        return text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    }
    text.into_owned()
}

/// A key or name that a BSP's document could have.
fn is_plain_name(name: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    name.len() <= NAME_LENGTH_MAX && name.iter().all(plain) && !name.iter().all(u8::is_ascii_digit)
}

fn string_end(body: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while at < body.len() {
        match body[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    body.len()
}

fn scalar_end(body: &[u8], start: usize) -> usize {
    let ends = |byte: &u8| {
        matches!(byte, b',' | b'}' | b']' | b'{' | b'[' | b':' | b'"') || byte.is_ascii_whitespace()
    };
    body[start..].iter().position(ends).map_or(body.len(), |length| start + length.max(1))
}

fn next_is_colon(body: &[u8], from: usize) -> bool {
    body[from..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "application/json";

    #[test]
    fn only_listed_keys_stay_readable() {
        let source = br#"{ "results": [
            {"messageId":"m-1","to":"4915112345","n":7,"none":null,"text":"say \"hi\", {you}",
             "status":{"groupName":"DELIVERED"},"list":["a","b"]} ] }"#;
        let line = body(JSON, source, &["messageId", "groupName"]);
        assert_eq!(
            line,
            r#"{"results":[{"messageId":"m-1","to":"***","n":"***","none":null,"text":"***","status":{"groupName":"DELIVERED"},"list":["***","***"]}]}"#
        );
    }

    #[test]
    fn a_listed_key_does_not_uncover_what_follows_its_object() {
        let line = body(JSON, br#"{"list":[{"messageId":"m-1"},"4915"]}"#, &["messageId"]);
        assert_eq!(line, r#"{"list":[{"messageId":"m-1"},"***"]}"#);
    }

    #[test]
    fn a_cut_body_shows_nothing_more_than_a_whole_one() {
        let source = br#"{"messageId":"m-1","to":"4915112345","text":"secret"}"#;
        for length in 0..source.len() {
            let line = body(JSON, &source[..length], &["messageId"]);
            assert!(!line.contains("4915") && !line.contains("sec"), "{line}");
        }
    }

    #[test]
    fn forms_are_masked_by_name() {
        let line = body(
            "application/x-www-form-urlencoded",
            b"MessageSid=SM1&To=%2B49151&Body=a%0Ab",
            &["MessageSid", "Body"],
        );
        assert_eq!(line, "MessageSid=SM1&To=***&Body=a b");
    }

    #[test]
    fn what_is_no_json_hides_what_follows_a_value() {
        for source in [&br#"{"messageId":"m-1","4915112345"}"#[..], br#"{"messageId":"m" "4915112345"}"#] {
            let line = body(JSON, source, &["messageId"]);
            assert!(!line.contains("4915"), "{line}");
        }
    }

    #[test]
    fn what_is_no_name_is_hidden_too() {
        let form = "application/x-www-form-urlencoded";
        assert_eq!(body(form, br#"{"text":"call 4915112345"}"#, &["text"]), "***=***");
        assert_eq!(body(form, b"4915112345=x", &[]), "***=***");
        assert_eq!(body(JSON, br#"{"4915112345":1,"Jane Doe":2}"#, &[]), r#"{"***":"***","***":"***"}"#);
    }

    #[test]
    fn a_long_body_is_cut_and_stays_on_one_line() {
        let long = format!(r#"{{"messageId":"{}"}}"#, "x".repeat(3 * LOGGED_BYTES_MAX));
        assert!(body(JSON, long.as_bytes(), &["messageId"]).len() <= LOGGED_BYTES_MAX + 4);
        assert_eq!(unmasked(b"a\r\nb"), "a  b");
    }
}
