//! Which rows a rule speaks of.

use proto::v1::{ReportStatus, SendOutcome};

use crate::row::{IdKind, Row, RowKind, Status};

/// Rows of a kind that fulfill a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Their kind.
    pub kind: RowKind,
    /// The condition.
    pub when: When,
}

/// A condition on a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Every row of the kind.
    Always,
    /// The command is in the queue of campaigns.
    Bulk,
    /// The command is in the other queue.
    NotBulk,
    /// The command names an uploaded file.
    NamesFile,
    /// The BSP accepted the message.
    Accepted,
    /// The command was decided in another way.
    NotAccepted,
    /// The customer's device has the message: DELIVERED, or READ, which may come without it.
    Delivered,
    /// The message will not arrive.
    Failed,
    /// The BSP reported it, or its message log says what became of the message. That it is still pending by the log is no report.
    Reported,
    /// The file's content was requested. A HEAD request only asks for its size and type.
    Content,
}

impl Step {
    /// Rows of a kind that fulfill a condition.
    pub const fn new(kind: RowKind, when: When) -> Self {
        Self { kind, when }
    }

    /// Whether a row is one of these.
    pub fn is(self, row: &Row) -> bool {
        row.kind == self.kind && self.when.is_true_of(row)
    }
}

impl When {
    fn is_true_of(self, row: &Row) -> bool {
        let is_accepted = row.status == Some(Status::Outcome(SendOutcome::Accepted));
        match self {
            Self::Always => true,
            Self::Bulk => row.is_bulk,
            Self::NotBulk => !row.is_bulk,
            Self::NamesFile => row.key(IdKind::Media).is_some(),
            Self::Accepted => is_accepted,
            Self::NotAccepted => !is_accepted,
            Self::Delivered => is_delivered(row),
            Self::Failed => row.status == Some(Status::Report(ReportStatus::Failed)),
            Self::Reported => !row.is_from_log() || is_decided(row),
            Self::Content => !row.summary.starts_with("HEAD"),
        }
    }
}

/// Whether a row says that the customer's device has the message.
pub(super) fn is_delivered(row: &Row) -> bool {
    matches!(row.status, Some(Status::Report(ReportStatus::Delivered | ReportStatus::Read)))
}

/// Whether a row says what became of a message.
fn is_decided(row: &Row) -> bool {
    let failed = Some(Status::Report(ReportStatus::Failed));
    is_delivered(row) || row.status == failed || row.status == Some(Status::Report(ReportStatus::Deleted))
}
