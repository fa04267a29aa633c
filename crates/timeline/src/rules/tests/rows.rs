//! Rows for tests: what the streams hold of one message, as [`crate::extract`] makes it.

use jiff::{SignedDuration, Timestamp};
use proto::v1::{ReportStatus, SendOutcome};

use crate::row::keys::SECRET_BYTES;
use crate::row::{IdKind, Keys, Link, Pointer, Recipient, Row, RowError, RowKind, Status, StreamNumber};

/// A time, in seconds after 2026-11-27T10:00:00Z.
pub(crate) fn at(seconds: f64) -> Timestamp {
    let start: Timestamp = "2026-11-27T10:00:00Z".parse().expect("a time");
    start + SignedDuration::from_millis((seconds * 1000.0) as i64)
}

pub(crate) fn keys() -> Keys {
    Keys::of_secret(&[7; SECRET_BYTES])
}

/// A row of channel `sales`, stored `seconds` after ten o'clock.
pub(crate) fn row(kind: RowKind, stream: StreamNumber, sequence: u64, seconds: f64) -> Row {
    let row = Row {
        pointer: Pointer { stream, sequence, part: 0 },
        stored_at: at(seconds),
        happened_at: None,
        kind,
        is_replayed: false,
        is_bulk: false,
        is_whole: false,
        bsp: "infobip".to_owned(),
        channel: "sales".to_owned(),
        tenant: "acme".to_owned(),
        status: None,
        error: None,
        links: Vec::new(),
        recipient: None,
        summary: String::new(),
        body: String::new(),
    };
    let own = format!("{}/{sequence}", stream.name());
    linked(row, IdKind::Stored, &own)
}

/// The row with one id more.
pub(crate) fn linked(mut row: Row, kind: IdKind, id: &str) -> Row {
    row.links.push(Link { kind, key: keys().id(id), shown: crate::row::shown::id(id) });
    row
}

/// A command to a customer whose number ends with 78.
pub(crate) fn command(id: &str, sequence: u64, seconds: f64) -> Row {
    let mut row = row(RowKind::Command, StreamNumber::Commands, sequence, seconds);
    let number = "4915112345678";
    row.recipient = Some(Recipient { key: keys().recipient(number), last_digits: "78".to_owned() });
    linked(row, IdKind::Command, id)
}

/// A command that names an uploaded file.
pub(crate) fn command_with_file(id: &str, media: &str, sequence: u64, seconds: f64) -> Row {
    linked(command(id, sequence, seconds), IdKind::Media, media)
}

pub(crate) fn result(id: &str, outcome: SendOutcome, sequence: u64, seconds: f64) -> Row {
    let mut row = of_message(row(RowKind::Result, StreamNumber::Events, sequence, seconds), id);
    row.status = Some(Status::Outcome(outcome));
    if outcome != SendOutcome::Accepted {
        row.error = Some(RowError { code: "7010".to_owned(), ..RowError::default() });
    }
    row
}

pub(crate) fn report(id: &str, status: ReportStatus, sequence: u64, seconds: f64, webhook: u64) -> Row {
    let mut row = of_message(row(RowKind::Report, StreamNumber::Events, sequence, seconds), id);
    row.status = Some(Status::Report(status));
    linked(row, IdKind::Stored, &format!("WEBHOOKS/{webhook}"))
}

pub(crate) fn fetch(id: &str, media: &str, sequence: u64, seconds: f64) -> Row {
    let mut row = row(RowKind::Fetch, StreamNumber::Events, sequence, seconds);
    row.summary = "GET 204800 bytes".to_owned();
    linked(linked(row, IdKind::Command, id), IdKind::Media, media)
}

pub(crate) fn webhook(sequence: u64, seconds: f64) -> Row {
    row(RowKind::Webhook, StreamNumber::Webhooks, sequence, seconds)
}

pub(crate) fn message(id: &str, sequence: u64, seconds: f64, webhook: u64) -> Row {
    let row = linked(row(RowKind::Message, StreamNumber::Events, sequence, seconds), IdKind::Message, id);
    linked(row, IdKind::Stored, &format!("WEBHOOKS/{webhook}"))
}

/// A dead letter of a webhook (`WEBHOOKS/17`) or command (`COMMANDS/4`).
pub(crate) fn dead_letter(origin: &str, sequence: u64, seconds: f64) -> Row {
    let mut row = row(RowKind::DeadLetter, StreamNumber::DeadLetters, sequence, seconds);
    row.error = Some(RowError { code: "malformed".to_owned(), ..RowError::default() });
    linked(row, IdKind::Stored, origin)
}

fn of_message(row: Row, command: &str) -> Row {
    linked(linked(row, IdKind::Command, command), IdKind::Message, &format!("imc-{command}"))
}
