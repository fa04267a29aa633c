//! Masks WhatsApp's own ids of messages: their base64 contains the customer's number. Ids of BSPs and of this gateway stay, so
//! that every line of a message can be found.

use std::borrow::Cow;

/// Prefix of WhatsApp's own ids. The rest is base64.
pub(super) const WAMID: &str = "wamid.";
/// The beginnings of such ids without their prefix: first as the Cloud API makes them, then as older interfaces did, with the
/// number in decimal digits of four bits (examples in Meta's documents of both, read 2026-11).
const BARE: [&str; 5] = ["HBg", "gBEG", "gBGG", "ABEG", "ABGG"];
/// Length of the shortest id without its prefix, in bytes.
const BARE_LENGTH_MIN: usize = 20;
/// Characters that are shown: the last ones, which are random.
const SHOWN_CHARS: usize = 6;

/// A message's id as logs and people may see it: WhatsApp's own as `wamid.…` and its last six characters, every other as it is.
///
/// # Examples
/// ```
/// use bsp::mask::message_id;
///
/// assert_eq!(message_id("wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjBGQkY0AA=="), "wamid.…Y0AA==");
/// assert_eq!(message_id("imc-order-17"), "imc-order-17");
/// ```
pub fn message_id(id: &str) -> Cow<'_, str> {
    let (prefix, rest) = match after_prefix(id) {
        Some(rest) => (WAMID, rest),
        None if is_bare(id) => ("", id),
        None => return Cow::Borrowed(id),
    };
    match rest.char_indices().rev().nth(SHOWN_CHARS - 1) {
        Some((start, _)) if start > 0 => Cow::Owned([prefix, "…", &rest[start..]].concat()),
        _ => Cow::Borrowed(id),
    }
}

/// A text with every `wamid.…` in it masked. Text of JSON stays JSON.
pub fn in_text(text: &str) -> Cow<'_, str> {
    let Some(mut start) = find(text) else { return Cow::Borrowed(text) };
    let mut shown = String::with_capacity(text.len());
    let mut left = text;
    loop {
        shown.push_str(&left[..start]);
        let id = &left[start..];
        // JSON may write a slash as `\/`.
        let is_end = |c| !is_of_base64(c) && c != '\\';
        let length = WAMID.len() + id[WAMID.len()..].find(is_end).unwrap_or(id.len() - WAMID.len());
        shown.push_str(&message_id(&id[..length]));
        left = &id[length..];
        match find(left) {
            Some(next) => start = next,
            None => break,
        }
    }
    shown.push_str(left);
    Cow::Owned(shown)
}

fn after_prefix(id: &str) -> Option<&str> {
    let (start, rest) = id.split_at_checked(WAMID.len())?;
    start.eq_ignore_ascii_case(WAMID).then_some(rest)
}

fn is_bare(id: &str) -> bool {
    id.len() >= BARE_LENGTH_MIN
        && BARE.iter().any(|start| id.starts_with(start))
        && id.chars().all(is_of_base64)
}

/// Whether base64 has it, in its usual form or in that for URLs.
fn is_of_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_')
}

fn find(text: &str) -> Option<usize> {
    text.as_bytes().windows(WAMID.len()).position(|part| part.eq_ignore_ascii_case(WAMID.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_of_whatsapp_are_masked() {
        for (id, shown) in [
            (
                "wamid.HBgMMzUxOTI3NDgyNjYyFQIAEhggNEVERTc4NzZBNzJFNTYyRTJFQjZDQzQ3OTdDRTA0RjIA",
                "wamid.…A0RjIA",
            ),
            ("WAMID.HBgMMzUxOTI3NDgyNjYy", "wamid.…gyNjYy"),
            ("HBgMMzUxOTI3NDgyNjYyFQIAEhgg", "…IAEhgg"),
            ("gBGGFlA5FpafAgkOuJbRq54qwbM", "…54qwbM"),
            ("wamid.…Y0AA==", "wamid.…Y0AA=="),
            ("wamid.text", "wamid.text"),
            (
                "wamid.\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
                "wamid.…\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
            ),
            ("HBg is how this long text begins", "HBg is how this long text begins"),
            ("imc-4915112345678", "imc-4915112345678"),
            ("wamid", "wamid"),
            ("", ""),
        ] {
            assert_eq!(message_id(id), shown);
        }
    }

    #[test]
    fn ids_in_a_text_are_masked() {
        let text = "no wamid.HBgNNDkxNTExMjM0NTY3OBUC, but 'wamid.HBgMMzUxOTI3NDgyNjYy' and wamid.";
        assert_eq!(in_text(text), "no wamid.…Y3OBUC, but 'wamid.…gyNjYy' and wamid.");
        let json = r#"{"id":"wamid.HBgM\/TExMjM0NRUCABEYEjQ1Q\/JD==","text":"wamid.HBgMNDkxNTEx\""}"#;
        assert_eq!(in_text(json), r#"{"id":"wamid.…\/JD==","text":"wamid.…xNTEx\""}"#);
        assert!(matches!(in_text("no id of WhatsApp"), Cow::Borrowed(_)));
    }
}
