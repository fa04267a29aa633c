mod cases;
mod ordering;
mod belonging;
mod any_order;
mod collecting;

use jiff::Timestamp;
use proto::v1::{ReportStatus, SendOutcome};

use super::*;
use crate::row::{RowKind, StreamNumber};
use crate::rules::tests::rows::{
    at, command, command_with_file, dead_letter, fetch, linked, message, report, result, row, webhook,
};

/// A view in which everything was read, and every reader has acknowledged everything.
fn view(seconds: f64) -> View {
    let mut view = View { now: at(seconds), ..View::default() };
    for stream in StreamNumber::ALL {
        let progress = view.progress.of_mut(stream);
        progress.sequence = 1000;
        progress.read_until = Some(at(seconds));
    }
    let finished = Some(Finished { sequence: 1000, until: Some(at(seconds)) });
    view.floors = Floors { normalizer: Some(1000), aicc: Some(1000), finished };
    view
}

/// The only life of rows.
fn life(rows: Vec<Row>, view: &View) -> Life {
    let mut lives = assemble(rows, view);
    assert_eq!(lives.len(), 1, "{lives:#?}");
    lives.remove(0)
}

/// The rows in their order, in a few words.
fn steps(life: &Life) -> Vec<String> {
    let step = |row: &Row| match row.status {
        Some(status) => format!("{} {}", row.kind.name(), status.name()),
        None => row.kind.name().to_owned(),
    };
    life.rows.iter().map(step).collect()
}

fn missing_texts(life: &Life) -> Vec<&str> {
    life.missing.iter().map(|missing| missing.text.as_str()).collect()
}

fn note_texts(life: &Life) -> Vec<&str> {
    life.notes.iter().map(|note| note.text.as_str()).collect()
}
