//! Text that is safe to show on a terminal: whatever is written into it is escaped on the way in, and only a style of our own
//! puts a control sequence around it.
//!
//! [`Out`](crate::out::Out) prints nothing else. A plain `String` that was made with `format!` is foreign as a whole and is
//! escaped as a whole, so a call that forgets `text!` may lose a color and never lets anything through.

use std::cell::RefCell;
use std::fmt::{self, Write};

use anstyle::Style;
use service::terminal;

/// Escaped text, in pieces that have a style each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text {
    pieces: Vec<(Style, String)>,
}

thread_local! {
    /// The texts that are being made, the innermost last: a `Text` that is formatted into another one joins it here, with its
    /// styles, and not through the characters that anybody could write.
    static BEING_MADE: RefCell<Vec<Text>> = const { RefCell::new(Vec::new()) };
}

/// A text in the manner of `format!`: the styles of texts that are put in stay, everything else is escaped.
macro_rules! text {
    ($($arg:tt)*) => { $crate::text::Text::of(format_args!($($arg)*)) };
}
pub(crate) use text;

/// A text in a style.
pub(crate) fn styled(style: Style, text: &str) -> Text {
    Text { pieces: vec![(style, terminal::escape(text).into_owned())] }
}

impl Text {
    /// What a value shows, escaped as one line.
    pub(crate) fn of(shown: impl fmt::Display) -> Self {
        BEING_MADE.with_borrow_mut(|texts| texts.push(Self::default()));
        // Only a value that refuses to show itself fails; what it has written stays.
        let _ = write!(Foreign, "{shown}");
        BEING_MADE.with_borrow_mut(Vec::pop).unwrap_or_default()
    }

    /// With the control sequences of its styles.
    pub(crate) fn to_ansi(&self) -> String {
        let mut ansi = String::new();
        for (style, text) in &self.pieces {
            // A style that changes nothing writes nothing.
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

/// Inside [`Text::of`] with its styles, anywhere else without them.
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

/// Takes what values write about themselves.
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
    use crate::out::{BAD, DIM};

    const FOREIGN: &str = "\u{1b}[31m\u{9b}2J\u{202e}\n";
    const ESCAPED: &str = r"\u001b[31m\u009b2J\u202e\n";

    #[test]
    fn only_our_own_styles_stay() {
        let inner = text!("{} {FOREIGN}", styled(BAD, FOREIGN));
        let outer = text!("a {inner} {:>3}", 7);
        let expected = format!("a {BAD}{ESCAPED}{BAD:#} {ESCAPED}   7");
        assert_eq!(outer.to_ansi(), expected);
        // Written anywhere else, it is foreign like all the rest.
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
