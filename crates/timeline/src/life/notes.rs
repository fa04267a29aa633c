//! What to say about rows that is no problem. Pure.

use proto::v1::SendOutcome;

use crate::life::missing::{asked, is_above};
use crate::life::words::span;
use crate::life::{Missing, Note, View};
use crate::row::{IdKind, Row, RowKind, Status, StreamNumber};

/// Streams in which a command's result and dead letter are.
const MADE_OF_COMMANDS: [StreamNumber; 2] = [StreamNumber::Events, StreamNumber::DeadLetters];

/// The notes of a life's rows.
pub(super) fn notes(rows: &[Row], missing: &[Missing], view: &View) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut add = |row: usize, text: String| notes.push(Note { row, text });
    let is_alone = rows.iter().all(|row| row.kind == RowKind::Webhook);
    let is_decided = rows.iter().any(|row| matches!(row.kind, RowKind::Result | RowKind::DeadLetter));
    let is_said = missing.iter().any(|missing| missing.rule.is_about_result());
    let has_fetch = rows.iter().any(|row| row.kind == RowKind::Fetch);
    for (index, row) in rows.iter().enumerate() {
        if let (RowKind::Command, false, Some(file)) = (row.kind, has_fetch, row.key(IdKind::Media))
            && let Some(fetched_at) = view.fetched.get(&(file, row.channel.clone()))
        {
            add(
                index,
                format!("its file was fetched at {fetched_at:.0}, for another message with the same file"),
            );
        }
        match row.kind {
            RowKind::Webhook if is_alone && is_finished(row, view) => {
                add(index, "nothing in it for the back end".to_owned());
            }
            RowKind::Webhook if is_alone && is_above(row, view.floors.normalizer, view) => {
                add(index, "waits for the normalizer".to_owned());
            }
            RowKind::Command if !is_decided && !is_said && is_read(row, &MADE_OF_COMMANDS, view) => {
                if let Some(reason) = view.halted(row) {
                    add(index, format!("waits: the lane is halted: {reason}"));
                }
            }
            RowKind::Report if row.is_from_log() => {
                if let Some(text) = without_report(row, &rows[..index]) {
                    add(index, text);
                }
            }
            _ => {}
        }
    }
    notes
}

/// For how long the BSP had reported nothing when its log was asked, and what the log said. `before` are the rows before that one.
fn without_report(row: &Row, before: &[Row]) -> Option<String> {
    if before.iter().any(|row| row.kind == RowKind::Report && !row.is_from_log()) {
        return None;
    }
    let accepted = Some(Status::Outcome(SendOutcome::Accepted));
    let result = before.iter().find(|row| row.kind == RowKind::Result && row.status == accepted)?;
    Some(format!("no report for {}{}", span(result.stored_at, row.stored_at), asked(row)))
}

/// Whether the normalizer is done with a webhook, and everything that it made of it is stored here.
fn is_finished(row: &Row, view: &View) -> bool {
    view.floors.finished.is_some_and(|finished| row.pointer.sequence <= finished.sequence)
}

/// Whether streams are read up to the time of a row.
fn is_read(row: &Row, streams: &[StreamNumber], view: &View) -> bool {
    view.progress.read_until(streams).is_some_and(|until| until >= row.stored_at)
}
