//! What happened, and the status that it gives a message. The numbers are stored and never change.

pub use proto::v1::AttemptOutcome;
use proto::v1::{ReportStatus, SendOutcome};

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RowKind {
    /// A command was stored.
    Command = 1,
    /// The BSP was called for a command.
    Attempt = 2,
    /// A command was decided.
    Result = 3,
    /// A client fetched a file.
    Fetch = 4,
    /// A webhook was stored.
    Webhook = 5,
    /// A BSP reported on a message.
    Report = 6,
    /// A customer wrote.
    Message = 7,
    /// A template, number or account changed.
    Account = 8,
    /// Something else happened on a customer's side.
    Customer = 9,
    /// A webhook, an item of it or a command became a dead letter.
    DeadLetter = 10,
}

impl RowKind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Command,
        Self::Attempt,
        Self::Result,
        Self::Fetch,
        Self::Webhook,
        Self::Report,
        Self::Message,
        Self::Account,
        Self::Customer,
        Self::DeadLetter,
    ];

    /// The kind of a stored number; `None` for a number of a later version.
    pub fn of_stored(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| i64::from(*kind as u8) == number)
    }

    /// Its name in answers, such as `dead_letter`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Attempt => "attempt",
            Self::Result => "result",
            Self::Fetch => "fetch",
            Self::Webhook => "webhook",
            Self::Report => "report",
            Self::Message => "message",
            Self::Account => "account",
            Self::Customer => "customer",
            Self::DeadLetter => "dead_letter",
        }
    }
}

/// The status that a row gives its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Of a report.
    Report(ReportStatus),
    /// Of a result.
    Outcome(SendOutcome),
    /// Of one call.
    Attempt(AttemptOutcome),
}

/// Added to the number of an outcome, and twice to that of an attempt's, so that one stored number says which it is.
const STORED_STEP: u32 = 100;

impl Status {
    /// Its stored number.
    pub fn to_stored(self) -> u32 {
        match self {
            Self::Report(status) => status as u32,
            Self::Outcome(outcome) => STORED_STEP + outcome as u32,
            Self::Attempt(outcome) => 2 * STORED_STEP + outcome as u32,
        }
    }

    /// The status of a stored number; `None` for a number of a later version.
    pub fn of_stored(number: u32) -> Option<Self> {
        let value = i32::try_from(number % STORED_STEP).ok()?;
        match number / STORED_STEP {
            0 => ReportStatus::try_from(value).ok().map(Self::Report),
            1 => SendOutcome::try_from(value).ok().map(Self::Outcome),
            2 => AttemptOutcome::try_from(value).ok().map(Self::Attempt),
            _ => None,
        }
    }

    /// Its name in answers, such as `DELIVERED` or `ACCEPTED`.
    pub fn name(self) -> &'static str {
        let full = match self {
            Self::Report(status) => status.as_str_name(),
            Self::Outcome(outcome) => outcome.as_str_name(),
            Self::Attempt(outcome) => outcome.as_str_name(),
        };
        let prefixes = ["REPORT_STATUS_", "SEND_OUTCOME_", "ATTEMPT_OUTCOME_"];
        prefixes.into_iter().find_map(|prefix| full.strip_prefix(prefix)).unwrap_or(full)
    }
}

/// Rank of a step in the life of a message: the order of rows with the same time, and of those whose times contradict it.
pub fn step_rank(kind: RowKind, status: Option<Status>) -> u8 {
    match (kind, status) {
        (RowKind::Command, _) => 0,
        (RowKind::Attempt, _) => 1,
        (RowKind::Result, _) => 2,
        (RowKind::Fetch, _) => 3,
        (RowKind::Webhook, _) => 4,
        (RowKind::Report, Some(Status::Report(status))) => 5 + status as u8,
        (RowKind::Report, _) => 5,
        (RowKind::Message | RowKind::Account | RowKind::Customer, _) => 5,
        (RowKind::DeadLetter, _) => 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_number_gives_the_same_status_again() {
        for number in 0..400 {
            if let Some(status) = Status::of_stored(number) {
                assert_eq!(status.to_stored(), number, "{status:?}");
                assert!(!status.name().contains("STATUS"), "{}", status.name());
            }
        }
        assert_eq!(Status::of_stored(5).map(Status::name), Some("DELIVERED"));
        assert_eq!(Status::of_stored(104).map(Status::name), Some("UNKNOWN"));
        assert_eq!(Status::of_stored(999), None);
    }
}
