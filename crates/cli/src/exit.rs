//! The exit codes of the command line.

use std::process::ExitCode;

use service::process::EXIT_SETTINGS;

/// Exit code of a check that found differences, and of a message that misses something.
const EXIT_DRIFT: u8 = 3;

/// Result of a command that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Success.
    Ok,
    /// A file or a setting is invalid; its errors were printed.
    InvalidInput,
    /// A check found differences, or a message misses something; it was printed.
    Drift,
    /// Nothing was found, which was said.
    NotFound,
    /// It failed, which was printed.
    Failed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Ok => Self::SUCCESS,
            Exit::InvalidInput => Self::from(EXIT_SETTINGS),
            Exit::NotFound | Exit::Failed => Self::FAILURE,
            Exit::Drift => Self::from(EXIT_DRIFT),
        }
    }
}
