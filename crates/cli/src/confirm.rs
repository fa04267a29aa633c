//! Asks for confirmation before something is published or removed that cannot be undone.

use std::io::IsTerminal;

use crate::output;

/// Asks a person on a terminal. A program must pass `--yes`.
///
/// # Errors
/// The terminal cannot be read or written.
pub(crate) fn is_confirmed(yes: bool, question: &str) -> anyhow::Result<bool> {
    if yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    output::prompt(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
