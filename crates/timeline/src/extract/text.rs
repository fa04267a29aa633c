//! Texts that people see: numbers masked, control characters replaced, cut.

use bsp::mask;

use crate::row::RowError;

/// Longest part of a summary, in characters.
const WORDS_CHARS_MAX: usize = 80;
/// Longest code or name of an error, in characters.
const CODE_CHARS_MAX: usize = 80;
/// Longest text of an error, in characters.
const ERROR_CHARS_MAX: usize = 400;
/// Characters after the shown ones that are read too, so that a number that is cut is masked: more than a number has.
const READ_BEYOND: usize = 64;

/// A few words of a BSP or of the business, for a summary.
pub(super) fn words(text: &str) -> String {
    clean(text, WORDS_CHARS_MAX)
}

/// An error in the words of the BSP or the gateway; `None` if it says nothing.
pub(super) fn error(code: &str, name: &str, text: &str) -> Option<RowError> {
    let error = RowError {
        code: clean(code, CODE_CHARS_MAX),
        name: clean(name, CODE_CHARS_MAX),
        text: clean(text, ERROR_CHARS_MAX),
    };
    (error != RowError::default()).then_some(error)
}

/// The same of an event's error.
pub(super) fn error_of(error_of: Option<&proto::v1::ReportError>) -> Option<RowError> {
    let of = error_of?;
    error(&of.code, &of.name, &of.description)
}

fn clean(text: &str, chars_max: usize) -> String {
    let end = text.char_indices().nth(chars_max + READ_BEYOND).map_or(text.len(), |(end, _)| end);
    let masked = mask::numbers(&text[..end]);
    let is_cut = end < text.len() || masked.chars().nth(chars_max).is_some();
    let shown = masked.chars().take(if is_cut { chars_max - 1 } else { chars_max });
    let mut shown: String =
        shown.map(|c| if is_hidden(c) { char::REPLACEMENT_CHARACTER } else { c }).collect();
    if is_cut {
        shown.push('…');
    }
    shown
}

/// Control characters, and those that change the direction of the text around them.
pub(super) fn is_hidden(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_shows_no_number_no_control_character_and_ends() {
        assert_eq!(words("to +49 151 12345678: 7010"), "to ***: 7010");
        assert_eq!(words("a\u{1b}[2J\u{202e}b"), "a\u{fffd}[2J\u{fffd}b");
        assert_eq!(words("wamid.HBgNNDkxNTExMjM0NTY3OBUC failed"), "wamid.…Y3OBUC failed");
        let long = words(&"x".repeat(1024 * 1024));
        assert_eq!((long.chars().count(), long.ends_with('…')), (WORDS_CHARS_MAX, true));
        assert_eq!(words(&"x".repeat(WORDS_CHARS_MAX)), "x".repeat(WORDS_CHARS_MAX));
        // A number at the end of what is read.
        for before in 0..200 {
            let text = format!("{}{}", "x".repeat(before), "4915112345678".repeat(20));
            assert!(!words(&text).contains("49151"), "{}", words(&text));
        }
        assert_eq!(error("", "", ""), None);
    }
}
