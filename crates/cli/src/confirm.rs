//! Asking before something is published or removed that cannot be taken back.

use std::io::IsTerminal;

use crate::out;

/// Asks a person on a terminal; a program has to say it with `--yes`.
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
    out::prompt(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
