//! Text that is safe to show on a terminal: everything that is written into it is escaped, and only a style of ours
//! puts a control sequence around it.
//!
//! [`Out`](crate::output::Out) prints nothing else. A plain `String` made with `format!` counts as external text and is
//! escaped as a whole, so a call without `text!` may lose a color and never prints external control sequences.

use std::cell::RefCell;
use std::fmt::{self, Write};

use anstyle::Style;
use service::terminal;

/// Escaped text, in pieces with one style each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text {
    pieces: Vec<(Style, String)>,
}

thread_local! {
    /// The texts that are being formatted, the innermost last. A `Text` that is formatted into another one is added to
    /// it here, with its styles, and not through characters that external text could contain.
    static BEING_MADE: RefCell<Vec<Text>> = const { RefCell::new(Vec::new()) };
}

/// Formats a text like `format!`: the styles of inserted texts are kept, everything else is escaped.
macro_rules! text {
    ($($arg:tt)*) => { $crate::text::Text::of(format_args!($($arg)*)) };
}
pub(crate) use text;

/// Returns a text with a style.
pub(crate) fn styled(style: Style, text: &str) -> Text {
    Text { pieces: vec![(style, terminal::escape(text).into_owned())] }
}

impl Text {
    /// Formats a value, escaped as one line.
    pub(crate) fn of(shown: impl fmt::Display) -> Self {
        BEING_MADE.with_borrow_mut(|texts| texts.push(Self::default()));
        // Only a value whose `Display` fails returns an error; what it has written is kept.
        let _ = write!(Foreign, "{shown}");
        BEING_MADE.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// Returns the text with the control sequences of its styles.
    pub(crate) fn to_ansi(&self) -> String {
        let mut ansi = String::new();
        for (style, text) in &self.pieces {
            // An empty style writes nothing.
            ansi.push_str(&format!("{style}{text}{style:#}"));
        }
        ansi
    }

    fn push_foreign(&mut self, text: &str) {
        match self.pieces.last_mut() {
            Some((style, last)) if style.is_plain() => terminal::push_escaped(last, text),
            _ => self.pieces.push((Style::new(), terminal::escape(text).into_owned())),
        }
    }
}

/// Inside [`Text::of`] with its styles, elsewhere without them.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = BEING_MADE.with_borrow_mut(|texts| {
            texts.last_mut().map(|text| text.pieces.extend(self.pieces.iter().cloned())).is_some()
        });
        if !joined {
            self.pieces.iter().try_for_each(|(_, text)| f.write_str(text))?;
        }
        Ok(())
    }
}

/// Receives what values write in their `Display`.
struct Foreign;

impl Write for Foreign {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        BEING_MADE.with_borrow_mut(|texts| {
            if let Some(made) = texts.last_mut() {
                made.push_foreign(text);
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::{BAD, DIM};

    const FOREIGN: &str = "\u{1b}[31m\u{9b}2J\u{202e}\n";
    const ESCAPED: &str = r"\u001b[31m\u009b2J\u202e\n";

    #[test]
    fn only_our_own_styles_stay() {
        let inner = text!("{} {FOREIGN}", styled(BAD, FOREIGN));
        let outer = text!("a {inner} {:>3}", 7);
        let expected = format!("a {BAD}{ESCAPED}{BAD:#} {ESCAPED}   7");
        assert_eq!(outer.to_ansi(), expected);
        // Formatted elsewhere, it counts as external text.
        let flat = format!("{outer}");
        assert_eq!(flat, format!("a {ESCAPED} {ESCAPED}   7"));
        assert_eq!(text!("{}", outer.to_ansi()).to_ansi(), terminal::escape(&expected));
    }

    #[test]
    fn a_text_may_be_made_while_another_one_is() {
        struct Nested;
        impl fmt::Display for Nested {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", text!("{}", styled(DIM, "in")))
            }
        }
        assert_eq!(text!("<{Nested}>").to_ansi(), format!("<{DIM}in{DIM:#}>"));
    }
}
