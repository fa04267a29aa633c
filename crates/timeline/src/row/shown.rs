//! How ids and recipients are shown to people: without what they say of a customer.

use bsp::ids::COMMAND_MESSAGE_PREFIX;
use bsp::mask;

/// Fewest digits in a row of an id that may be a telephone number.
const NUMBER_DIGITS_MIN: usize = 7;
/// Most digits of a telephone number (ITU-T E.164).
const NUMBER_DIGITS_MAX: usize = 15;
/// Longest id that is shown, in characters. Ids of BSPs are shorter.
const SHOWN_CHARS_MAX: usize = 80;

/// An id as people may see it. WhatsApp's own are shown as `wamid.…` and their last six characters.
///
/// # Examples
/// ```
/// use timeline::row::shown;
///
/// assert_eq!(shown::id("wamid.HBgNNDkxNTExMjM0NTY3OBUCABEYEjBGQkY0AA=="), "wamid.…Y0AA==");
/// assert_eq!(shown::id("imc-order-17"), "imc-order-17");
/// ```
pub fn id(id: &str) -> String {
    if is_number(id) {
        return format!("…{}", last(id, 2));
    }
    let masked = mask::message_id(id);
    let is_cut = masked.chars().nth(SHOWN_CHARS_MAX).is_some();
    let shown = masked.chars().take(if is_cut { SHOWN_CHARS_MAX - 1 } else { SHOWN_CHARS_MAX });
    let mut shown: String = shown.map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if is_cut {
        shown.push('…');
    }
    shown
}

/// An id that a back end has chosen, where the message does not say which number is the customer's: digits in a row that may be a
/// telephone number are masked, except in a UUID.
///
/// # Examples
/// ```
/// use timeline::row::shown;
///
/// assert_eq!(shown::chosen_id("order-4915112345678-2"), "order-***-2");
/// assert_eq!(shown::chosen_id("imc-order-17"), "imc-order-17");
/// ```
pub fn chosen_id(of: &str) -> String {
    let shown = id(of);
    if is_uuid(of) || of.strip_prefix(COMMAND_MESSAGE_PREFIX).is_some_and(is_uuid) {
        return shown;
    }
    let mut masked = String::with_capacity(shown.len());
    let mut rest = shown.as_str();
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, digits) = rest.split_at(start);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        masked.push_str(before);
        let is_number = (NUMBER_DIGITS_MIN..=NUMBER_DIGITS_MAX).contains(&end);
        masked.push_str(if is_number { mask::MASK } else { &digits[..end] });
        rest = &digits[end..];
    }
    masked.push_str(rest);
    masked
}

/// Whether a text is a UUID, with hyphens or without: its digits are no number.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    let is_hexadecimal = groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
    is_hexadecimal && (lengths == [8, 4, 4, 4, 12] || lengths == [32])
}

/// The last two digits of a number; empty for anything else.
pub fn last_digits(recipient: &str) -> String {
    let text = recipient.trim();
    let text = text.strip_prefix("whatsapp:").unwrap_or(text);
    if is_number(text) { last(text, 2) } else { String::new() }
}

/// Whether a text may be a telephone number: digits and separators only.
fn is_number(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '(' | ')' | '.' | '/');
    (NUMBER_DIGITS_MIN..=NUMBER_DIGITS_MAX).contains(&digits) && text.chars().all(is_part)
}

fn last(text: &str, chars: usize) -> String {
    let skipped = text.chars().count().saturating_sub(chars);
    text.chars().skip(skipped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_shows_no_number() {
        assert_eq!(id("4915112345678"), "…78");
        assert_eq!(id("a\u{1b}[2Jb"), "a\u{fffd}[2Jb");
        assert_eq!(id(&"x".repeat(500)).chars().count(), SHOWN_CHARS_MAX);
        assert_eq!(id("742f868d-c9e9-4eda-b5c0-2747cb7ef773"), "742f868d-c9e9-4eda-b5c0-2747cb7ef773");
        for (command, shown) in [
            ("4915112345678", "…78"),
            ("to+4915112345678/1", "to+***/1"),
            ("12345678-1234-1234-1234-123456789012", "12345678-1234-1234-1234-123456789012"),
            ("imc-12345678-1234-1234-1234-123456789012", "imc-12345678-1234-1234-1234-123456789012"),
            ("run-123456", "run-123456"),
        ] {
            assert_eq!(chosen_id(command), shown);
        }
        assert_eq!(last_digits("whatsapp:+4915112345678"), "78");
        assert_eq!(last_digits("GB.4915112345678"), "");
    }
}
