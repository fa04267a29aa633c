//! What to say about rows that is no problem. Pure.

use crate::life::missing::is_above;
use crate::life::{Missing, Note, View};
use crate::row::{Row, RowKind, StreamNumber};
use crate::rules::RuleName;

/// Streams in which a webhook's events and dead letters are.
const MADE_OF_WEBHOOKS: [StreamNumber; 2] = [StreamNumber::Events, StreamNumber::DeadLetters];
/// Streams in which a command's result and dead letter are.
const MADE_OF_COMMANDS: [StreamNumber; 2] = MADE_OF_WEBHOOKS;

/// The notes of a life's rows.
pub(super) fn notes(rows: &[Row], missing: &[Missing], view: &View) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut add = |row: usize, text: String| notes.push(Note { row, text });
    let is_alone = rows.iter().all(|row| row.kind == RowKind::Webhook);
    let is_decided = rows.iter().any(|row| matches!(row.kind, RowKind::Result | RowKind::DeadLetter));
    let is_said = missing.iter().any(|missing| missing.rule == RuleName::NoResult);
    for (index, row) in rows.iter().enumerate() {
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
            _ => {}
        }
    }
    notes
}

/// Whether the normalizer is done with a webhook, and everything that it made of it is stored here.
fn is_finished(row: &Row, view: &View) -> bool {
    let is_known = view.floors.normalizer.is_some_and(|floor| row.pointer.sequence <= floor);
    let is_all_here = MADE_OF_WEBHOOKS.iter().all(|stream| view.progress.of(*stream).behind == 0);
    is_known && is_all_here && is_read(row, &MADE_OF_WEBHOOKS, view)
}

/// Whether streams are read up to the time of a row.
fn is_read(row: &Row, streams: &[StreamNumber], view: &View) -> bool {
    view.progress.read_until(streams).is_some_and(|until| until >= row.stored_at)
}
