//! The form of what `up` shows: for a person at a terminal, or line by line for a file.

use tracing::Level;

use crate::output::{self, Out};

/// What is shown while the gateway runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// Progress and short lines, for a person at a terminal.
    Terminal,
    /// Log lines and every event, for a file or a program.
    Lines,
}

impl View {
    pub(super) fn of(out: &Out) -> Self {
        if output::is_terminal() && !out.is_json() { Self::Terminal } else { Self::Lines }
    }

    /// The least severe level of log lines that are shown, where `level` is the one of the settings.
    pub(super) fn log_level(self, shows_log: bool, level: Level) -> Level {
        match self {
            Self::Terminal if !shows_log => Level::ERROR,
            _ => level,
        }
    }
}
