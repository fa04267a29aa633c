//! Reads the messages behind rows, whole, for those who may see them. Nothing of it is stored or logged.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use crate::extract::whole;
use crate::http::answer::{self, UnmaskedAnswer};
use crate::http::originals::{self, Original};
use crate::http::state::Shared;
use crate::row::Row;

/// Most messages of an answer.
pub(in crate::http) const MESSAGES_MAX: usize = 50;
/// Messages that are read at a time.
const AT_A_TIME: usize = 4;
/// Most bytes of the messages of an answer together. It bounds the memory of a request.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// One row of each message, in the order of the rows.
pub(in crate::http) fn messages(rows: Vec<Row>) -> Vec<Row> {
    let mut seen = BTreeMap::new();
    let mut first = Vec::new();
    for row in rows {
        let place = (row.pointer.stream, row.pointer.sequence, row.stored_at);
        if seen.insert(place, ()).is_none() {
            first.push(row);
        }
    }
    first
}

/// The messages behind rows. After one for which NATS does not answer, it is not asked for the others: an answer would take longer
/// than a process that stops waits for it.
pub(in crate::http) async fn read(shared: &Shared, rows: Vec<Row>) -> Vec<UnmaskedAnswer> {
    let is_away = AtomicBool::new(false);
    let mut reading = stream::iter(rows).map(|row| one(shared, &is_away, row)).buffered(AT_A_TIME);
    let (mut answers, mut bytes) = (Vec::new(), 0);
    while let Some(Content { mut answer, size }) = reading.next().await {
        bytes += size;
        if bytes > BYTES_MAX {
            (answer.content, answer.source) = (None, None);
            answer.detail = Some("too large to be shown with the others: unmask it by its place".to_owned());
            bytes -= size;
        }
        answers.push(answer);
    }
    answers
}

/// A message, and how large it is.
struct Content {
    answer: UnmaskedAnswer,
    size: usize,
}

async fn one(shared: &Shared, is_away: &AtomicBool, row: Row) -> Content {
    let read = if is_away.load(Ordering::Relaxed) {
        Original::Unavailable
    } else {
        originals::read(shared, row.pointer.stream, row.pointer.sequence).await.stored_at(row.stored_at)
    };
    if matches!(read, Original::Unavailable) {
        is_away.store(true, Ordering::Relaxed);
    }
    let found = match read {
        Original::Found(delivery) => {
            Ok(("stream", whole(row.pointer.stream, &delivery), delivery.payload.len()))
        }
        Original::Gone => of_row(shared, &row).ok_or("its stream no longer holds it"),
        Original::Unavailable => of_row(shared, &row).ok_or("NATS did not answer: try again"),
    };
    let mut answer = UnmaskedAnswer {
        pointer: answer::pointer(&row),
        kind: row.kind.name().to_owned(),
        at: row.stored_at,
        source: None,
        content: None,
        detail: None,
    };
    match found {
        Ok((source, content, size)) => {
            (answer.source, answer.content) = (Some(source.to_owned()), Some(content));
            Content { answer, size }
        }
        Err(detail) => {
            answer.detail = Some(detail.to_owned());
            Content { answer, size: 0 }
        }
    }
}

/// What the row keeps, if it keeps the message as it is.
fn of_row(shared: &Shared, row: &Row) -> Option<(&'static str, Value, usize)> {
    if !shared.is_whole(row) || row.body.is_empty() {
        return None;
    }
    let content = serde_json::from_str(&row.body).unwrap_or_else(|_| row.body.as_str().into());
    Some(("row", content, row.body.len()))
}
