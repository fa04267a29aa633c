//! What the checks share of a reading: a value or the reason why it is missing, and a consumer at two times.

use bus::inspect::ConsumerInfo;

/// What was read, or why it could not be read.
pub(super) type Probe<T> = Result<T, String>;

/// A consumer at both readings.
#[derive(Debug, Clone)]
pub(super) struct Moves {
    pub(super) before: ConsumerInfo,
    pub(super) after: ConsumerInfo,
}

/// Returns the innermost cause of an error, which contains no URL.
pub(super) fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "timed out".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
