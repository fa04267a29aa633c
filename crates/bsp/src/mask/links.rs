//! Masks URLs wherever they are in a text. A BSP may quote them under a key or in a text that is shown otherwise.

use std::borrow::Cow;

use super::MASK;

/// What a URL has between its scheme and its host.
const URL: &str = "://";

/// The text with each URL masked after its scheme.
pub(super) fn masked(text: &str) -> Cow<'_, str> {
    let Some(mut start) = after_scheme(text) else { return Cow::Borrowed(text) };
    let mut shown = String::with_capacity(text.len());
    let mut left = text;
    loop {
        let (before, secret) = left.split_at(start);
        shown.push_str(before);
        shown.push_str(MASK);
        left = &secret[secret.find(is_end).unwrap_or(secret.len())..];
        match after_scheme(left) {
            Some(next) => start = next,
            None => break,
        }
    }
    shown.push_str(left);
    Cow::Owned(shown)
}

fn after_scheme(text: &str) -> Option<usize> {
    text.find(URL).map(|at| at + URL.len())
}

/// A URL in a text of JSON ends at the latest at the quote, or at the backslash of an escape.
fn is_end(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_masked_and_nothing_else() {
        for (text, shown) in [
            ("", ""),
            (r#"{"messageId":"imc-1","a":"b: c/d"}"#, r#"{"messageId":"imc-1","a":"b: c/d"}"#),
            ("https://m.example/f/1?t=2, and more", "https://*** and more"),
            (r#"{"a":"http://m.example/f","b":"ftp://x"}"#, r#"{"a":"http://***","b":"ftp://***"}"#),
            (r#"{"a":"see \"https://m.example/f\" there"}"#, r#"{"a":"see \"https://***\" there"}"#),
            ("https://é.example/ü", "https://***"),
            ("https://m.example/wamid.HBgMNDkx or x://", "https://*** or x://***"),
        ] {
            assert_eq!(masked(text), shown, "{text}");
        }
    }
}
