//! What to do about a step that ended badly: a note under it, for people. Pure.
//!
//! What is missing has its own advice, in the table of rules.

use proto::v1::{ReportStatus, SendOutcome};

use crate::http::answer::NoteAnswer;
use crate::life::Life;
use crate::row::{Row, RowKind, Status};

/// The notes of a life's steps that ended badly.
pub(super) fn notes(life: &Life) -> Vec<NoteAnswer> {
    let is_delivered = life.report().is_some_and(|status| status > ReportStatus::Failed);
    let mut notes = Vec::new();
    for (index, row) in life.rows.iter().enumerate() {
        if let Some(text) = advice(row, is_delivered) {
            notes.push(NoteAnswer { row: index, text });
        }
    }
    notes
}

fn advice(row: &Row, is_delivered: bool) -> Option<String> {
    let text = match (row.kind, row.status) {
        (RowKind::DeadLetter, _) => {
            let sequence = row.pointer.sequence;
            return Some(format!(
                "to do: `imchannel deadletter show {sequence}` shows it; when the cause is fixed, \
                 `imchannel deadletter replay {sequence} --publish` processes it again"
            ));
        }
        (RowKind::Result, Some(Status::Outcome(SendOutcome::Rejected))) => {
            "to do: it was not sent and is not tried again. Correct what the error names, and publish the command under a new id"
        }
        (RowKind::Result, Some(Status::Outcome(SendOutcome::Expired))) => {
            "to do: it was not sent. If it is still needed, publish it under a new id with a later deadline"
        }
        (RowKind::Result, Some(Status::Outcome(SendOutcome::Unknown))) if !is_delivered => {
            "to do: it may have been sent. Wait for a report, or ask the BSP, before it is published under a new id"
        }
        (RowKind::Report, Some(Status::Report(ReportStatus::Failed))) if !is_delivered => {
            "to do: the customer does not have it. The error says why; if that can be corrected, publish it under a new id"
        }
        _ => return None,
    };
    Some(text.to_owned())
}
