//! Reads the messages behind rows, whole, for those who may see them. Nothing of it is stored or logged.

use std::collections::BTreeMap;
use std::time::Duration;

use bus::message_store;
use bus::rate_limited_log::RateLimitedLog;
use bus::streams::{COMMANDS, DEADLETTERS, EVENTS, StreamDefinition, WEBHOOKS};
use futures_util::{StreamExt as _, stream};
use serde_json::Value;

use crate::extract::{Bodies, whole};
use crate::http::answer::{self, UnmaskedAnswer};
use crate::http::state::Shared;
use crate::row::{Row, StreamNumber};

/// Most messages of an answer.
pub(in crate::http) const MESSAGES_MAX: usize = 50;
/// Messages that are read at a time.
const AT_A_TIME: usize = 4;
/// Most bytes of the messages of an answer together. It bounds the memory of a request.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Timeout of reading one message.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

static READ_ERRORS: RateLimitedLog = RateLimitedLog::new();

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

/// The messages behind rows.
pub(in crate::http) async fn read(shared: &Shared, rows: Vec<Row>) -> Vec<UnmaskedAnswer> {
    let mut reading = stream::iter(rows).map(|row| one(shared, row)).buffered(AT_A_TIME);
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

async fn one(shared: &Shared, row: Row) -> Content {
    let found = match of_stream(shared, &row).await {
        Err(detail) => Err(detail),
        Ok(Some((content, size))) => Ok(("stream", content, size)),
        Ok(None) => of_row(shared, &row),
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

/// The message and its bytes; `None` if the stream no longer holds it.
async fn of_stream(shared: &Shared, row: &Row) -> Result<Option<(Value, usize)>, &'static str> {
    let Some(bus) = &shared.api.bus else { return Ok(None) };
    let reading = message_store::get(bus, definition(row.pointer.stream), row.pointer.sequence);
    let away = "NATS did not answer: try again";
    let read = match tokio::time::timeout(READ_TIMEOUT, reading).await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => {
            if let Some(turn) = READ_ERRORS.next() {
                let text = service::words::causes(&error.into());
                tracing::warn!(function = "timeline", "cannot read the message behind a row: {text}{turn}");
            }
            return Err(away);
        }
        Err(_) => return Err(away),
    };
    // A stream that was created again has another message with this sequence.
    let same = read.filter(|delivery| delivery.stored_at == row.stored_at);
    Ok(same.map(|delivery| (whole(row.pointer.stream, &delivery), delivery.payload.len())))
}

/// What the row keeps, if rows keep messages as they are.
fn of_row(shared: &Shared, row: &Row) -> Result<(&'static str, Value, usize), &'static str> {
    if shared.api.bodies == Bodies::Masked || row.body.is_empty() {
        return Err("its stream no longer holds it");
    }
    let content = serde_json::from_str(&row.body).unwrap_or_else(|_| row.body.as_str().into());
    Ok(("row", content, row.body.len()))
}

fn definition(stream: StreamNumber) -> &'static StreamDefinition {
    match stream {
        StreamNumber::Webhooks => &WEBHOOKS,
        StreamNumber::Events => &EVENTS,
        StreamNumber::Commands => &COMMANDS,
        StreamNumber::DeadLetters => &DEADLETTERS,
    }
}
