//! The lines that a measurement prints.

use std::io::Write as _;

/// Prints a progress line.
#[expect(clippy::disallowed_methods, reason = "prints only texts and numbers of the suite")]
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
