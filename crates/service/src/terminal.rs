//! Text for a terminal. A customer, a BSP, a server or a file may have written it. Characters that control a
//! terminal, or that a terminal hides, are written as their JSON escape: `\u001b`, `\n`, `\u202e`.
//!
//! Only this module decides which characters are escaped. The programs write all lines on standard output and
//! standard error with it; `clippy.toml` forbids any other way to write there. The command line's `out` adds
//! colors around texts that are already escaped.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::process::ExitCode;

/// Whether the character controls a terminal, or is invisible to a reader.
///
/// These are all controls (Unicode's category Cc: C0 with the line break and the tab, DEL, C1), the controls
/// of direction, the separators of lines and paragraphs, and characters without width or glyph, tags
/// included. The two joiners U+200C and U+200D and the variation selectors are not included: emoji, Persian
/// and Indic scripts need them, and they change only the form of their neighbors. Source: UnicodeData.txt of
/// Unicode 16.0, category Cf; UAX #9, Table 4.
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e007f}')
}

/// The text as one line that is safe to show. In a JSON text, only strings can contain such characters, and
/// the escapes keep the meaning of the strings.
///
/// # Examples
/// ```
/// assert_eq!(service::terminal::escape("red \u{1b}[31m"), r"red \u001b[31m");
/// ```
pub fn escape(text: &str) -> Cow<'_, str> {
    if is_printable_ascii(text) || !text.contains(is_unsafe) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    push_escaped(&mut escaped, text);
    escaped.into()
}

/// A fast check that accepts most texts. It reads all bytes without an early return, so that the compiler can
/// vectorize it.
fn is_printable_ascii(text: &str) -> bool {
    text.bytes().fold(true, |is_printable, byte| is_printable & matches!(byte, b' '..=b'~'))
}

/// Appends the text as [`escape`] returns it.
pub fn push_escaped(to: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            c if is_unsafe(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a string cannot fail.
                    let _ = write!(to, "\\u{unit:04x}");
                }
            }
            c => to.push(c),
        }
    }
}

/// Writes a line to standard output. A closed output is not an error.
#[expect(clippy::disallowed_methods, reason = "the text is escaped")]
pub fn print(line: impl fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{}", escape(&line.to_string()));
}

/// Writes a line to standard error, for use while no log runs.
#[expect(clippy::disallowed_methods, reason = "the text is escaped")]
pub fn print_error(line: impl fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{}", escape(&line.to_string()));
}

/// Prints clap's message: help, the version, or an error in the arguments, which it quotes. The message is
/// colored unless a part of it must be escaped.
pub fn usage(error: &clap::Error) -> ExitCode {
    let plain = error.render().to_string();
    if plain.lines().any(|line| line.contains(is_unsafe)) {
        plain.lines().for_each(print_error);
    } else {
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_characters_that_control_a_terminal_or_are_hidden_are_escaped() {
        assert_eq!(escape("\u{1b}]0;x\u{7}\u{9b}31m\u{7f}"), r"\u001b]0;x\u0007\u009b31m\u007f");
        assert_eq!(escape("a\u{202e}b\u{2066}\u{61c}\u{200f}\u{2028}"), r"a\u202eb\u2066\u061c\u200f\u2028");
        assert_eq!(escape("\u{200b}\u{feff}\u{e0041}"), r"\u200b\ufeff\udb40\udc41");
        assert_eq!(escape("a\r\n\tb"), r"a\r\n\tb");
        for kept in
            ["Grüße, \u{627}\u{644}\u{633} 你好", "👩\u{200d}🚒 ☺\u{fe0f}", "می\u{200c}خواهم", "a\u{a0}b"]
        {
            assert_eq!(escape(kept), kept);
        }
    }

    #[test]
    fn an_escaped_json_text_has_the_same_meaning() {
        let every: String = (0..0x11_0000).filter_map(char::from_u32).filter(|c| is_unsafe(*c)).collect();
        let text = serde_json::json!({ "a": every }).to_string();
        let escaped = escape(&text);
        assert!(!escaped.contains(is_unsafe));
        assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap()["a"], every);
    }
}
