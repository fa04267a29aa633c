//! Masks URLs and ids of WhatsApp messages wherever they are in a text. A BSP may quote them under a key or in a text that is
//! shown otherwise.

use std::borrow::Cow;

use super::MASK;

/// What a URL has between its scheme and its host.
const URL: &str = "://";
/// What the id of a WhatsApp message begins with. The rest is base64, and contains the customer's number.
const WHATSAPP_ID: &str = "wamid.";
/// Bytes at the end of such an id that are shown: enough to find the message, and too few for a number.
const WHATSAPP_ID_SHOWN: usize = 6;

/// The text with each URL masked after its scheme, and each WhatsApp id before its last characters.
pub(super) fn masked(text: &str) -> Cow<'_, str> {
    let Some(mut found) = next(text) else { return Cow::Borrowed(text) };
    let mut shown = String::with_capacity(text.len());
    let mut left = text;
    loop {
        let (before, secret) = left.split_at(found.at);
        shown.push_str(before);
        shown.push_str(MASK);
        let is_part = |c: char| match found.kind {
            // A URL in a text of JSON ends at the latest at the quote, or at the backslash of an escape.
            Kind::Url => !c.is_whitespace() && !matches!(c, '"' | '\'' | '<' | '>' | '\\'),
            // JSON may write a slash as `\/`.
            Kind::WhatsAppId => c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_' | '\\'),
        };
        let end = secret.find(|c| !is_part(c)).unwrap_or(secret.len());
        if found.kind == Kind::WhatsAppId && end > 2 * WHATSAPP_ID_SHOWN {
            shown.push_str(&secret[end - WHATSAPP_ID_SHOWN..end]);
        }
        left = &secret[end..];
        match next(left) {
            Some(another) => found = another,
            None => break,
        }
    }
    shown.push_str(left);
    Cow::Owned(shown)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Url,
    WhatsAppId,
}

struct Found {
    kind: Kind,
    /// Where the part to mask begins.
    at: usize,
}

/// The first one in a text.
fn next(text: &str) -> Option<Found> {
    let find = |kind, mark: &str| text.find(mark).map(|at| Found { kind, at: at + mark.len() });
    let url = find(Kind::Url, URL);
    let id = find(Kind::WhatsAppId, WHATSAPP_ID);
    match (url, id) {
        (Some(url), Some(id)) => Some(if url.at < id.at { url } else { id }),
        (url, id) => url.or(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_ids_of_whatsapp_are_masked_and_nothing_else() {
        for (text, shown) in [
            ("", ""),
            (r#"{"messageId":"imc-1","a":"b: c/d"}"#, r#"{"messageId":"imc-1","a":"b: c/d"}"#),
            ("https://m.example/f/1?t=2, and more", "https://*** and more"),
            (r#"{"a":"http://m.example/f","b":"ftp://x"}"#, r#"{"a":"http://***","b":"ftp://***"}"#),
            (r#"{"a":"see \"https://m.example/f\" there"}"#, r#"{"a":"see \"https://***\" there"}"#),
            ("https://é.example/ü", "https://***"),
            ("wamid.HBgMNDkxNTExMjM0NRUCABEYEjQ1QUJD", "wamid.***Q1QUJD"),
            (r#"{"id":"wamid.HBgM\/TExMjM0NRUCABEYEjQ1Q\/JD=="}"#, r#"{"id":"wamid.***\/JD=="}"#),
            ("wamid.HBgMNDkx", "wamid.***"),
            ("wamid.", "wamid.***"),
            (
                "wamid.HBgMNDkxNTExMjM0NRUCABEYEjQ1QUJD of https://m.example/wamid.HBgMNDkx or x://",
                "wamid.***Q1QUJD of https://*** or x://***",
            ),
        ] {
            assert_eq!(masked(text), shown, "{text}");
        }
    }
}
