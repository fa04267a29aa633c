//! Rows and batches for tests.

use std::sync::Arc;

use bus::replay::Replayed;
use jiff::{Span, Timestamp};
use timeline::row::{
    IdKind, Keys, Link, LookupKey, Pointer, Recipient, RecipientKey, Row, RowKind, Status, StreamNumber,
    shown,
};
use timeline::rules::{Expectation, RuleName, Settled, Settlement};
use timeline::store::{Batch, NewRow, Position, Store};

/// Enough for every test that does not count.
pub(crate) const MANY: usize = 10_000;

/// The keys of all tests.
pub(crate) fn keys() -> Keys {
    Keys::of_secret(&[7; 32])
}

/// The key of an id.
pub(crate) fn key(id: &str) -> LookupKey {
    keys().id(id)
}

/// The key of a customer.
pub(crate) fn customer(number: &str) -> RecipientKey {
    keys().recipient(number)
}

/// A time on 20 November 2026, in seconds after 12:00. A day has 86,400.
pub(crate) fn at(seconds: i64) -> Timestamp {
    let noon: Timestamp = "2026-11-20T12:00:00.000000017Z".parse().unwrap();
    noon + Span::new().seconds(seconds)
}

/// When the streams of tests were created.
pub(crate) fn created() -> Timestamp {
    at(-10 * 86_400)
}

/// A row and what follows from it.
#[derive(Debug, Clone)]
pub(crate) struct Sample(pub(crate) NewRow);

/// A row of channel `sales` that has only its place.
pub(crate) fn row(stream: StreamNumber, sequence: u64, stored_at: Timestamp) -> Sample {
    let kind = match stream {
        StreamNumber::Webhooks => RowKind::Webhook,
        StreamNumber::Events => RowKind::Report,
        StreamNumber::Commands => RowKind::Command,
        StreamNumber::DeadLetters => RowKind::DeadLetter,
    };
    let row = Row {
        pointer: Pointer { stream, sequence, part: 0 },
        stored_at,
        happened_at: None,
        kind,
        is_replayed: false,
        is_bulk: false,
        is_whole: false,
        bsp: "infobip".to_owned(),
        channel: "sales".to_owned(),
        tenant: String::new(),
        status: None,
        error: None,
        links: Vec::new(),
        recipient: None,
        summary: String::new(),
        body: String::new(),
    };
    Sample(NewRow { row: Arc::new(row), expected: Vec::new(), settled: Vec::new(), replayed: None })
}

/// A row of EVENTS.
pub(crate) fn event(sequence: u64, seconds: i64) -> Sample {
    row(StreamNumber::Events, sequence, at(seconds))
}

/// A row of COMMANDS.
pub(crate) fn command(sequence: u64, seconds: i64) -> Sample {
    row(StreamNumber::Commands, sequence, at(seconds))
}

impl Sample {
    /// Its row, to change it.
    pub(crate) fn row(&mut self) -> &mut Row {
        Arc::make_mut(&mut self.0.row)
    }

    pub(crate) fn kind(mut self, kind: RowKind) -> Self {
        self.row().kind = kind;
        self
    }

    pub(crate) fn status(mut self, status: Status) -> Self {
        self.row().status = Some(status);
        self
    }

    pub(crate) fn channel(mut self, channel: &str) -> Self {
        channel.clone_into(&mut self.row().channel);
        self
    }

    pub(crate) fn part(mut self, part: u32) -> Self {
        self.row().pointer.part = part;
        self
    }

    /// A message's id.
    pub(crate) fn id(self, id: &str) -> Self {
        self.link(IdKind::Message, id)
    }

    pub(crate) fn link(mut self, kind: IdKind, id: &str) -> Self {
        self.row().links.push(Link { kind, key: key(id), shown: shown::id(id) });
        self
    }

    pub(crate) fn to(mut self, number: &str) -> Self {
        self.row().recipient =
            Some(Recipient { key: customer(number), last_digits: shown::last_digits(number) });
        self
    }

    /// Expects something within a minute of the row.
    pub(crate) fn expects(self, rule: RuleName, id: &str) -> Self {
        self.expects_within(rule, id, 60)
    }

    pub(crate) fn expects_within(mut self, rule: RuleName, id: &str, seconds: i64) -> Self {
        let since = self.0.row.stored_at;
        let channel = self.0.row.channel.clone();
        let due = since + Span::new().seconds(seconds);
        self.0.expected.push(Expectation { rule, key: key(id), file: None, channel, since, due });
        self
    }

    /// Its message was published again by a run.
    pub(crate) fn replayed(mut self, run: Option<u64>, by: Option<&str>) -> Self {
        self.row().is_replayed = true;
        let by = by.map(str::to_owned);
        self.0.replayed = Some(Box::new(Replayed { run, by, reason: None }));
        self
    }

    pub(crate) fn settles(mut self, rule: RuleName, id: &str) -> Self {
        let channel = self.0.row.channel.clone();
        self.0.settled.push(Settlement { rule, key: key(id), of: Settled::Id, channel });
        self
    }
}

impl Sample {
    /// What the row expects is of a file.
    pub(crate) fn of_file(mut self, file: &str) -> Self {
        self.0.expected.iter_mut().for_each(|expected| expected.file = Some(key(file)));
        self
    }

    /// Ends what is expected of a file.
    pub(crate) fn settles_file(mut self, rule: RuleName, file: &str) -> Self {
        let channel = self.0.row.channel.clone();
        self.0.settled.push(Settlement { rule, key: key(file), of: Settled::File, channel });
        self
    }

    pub(crate) fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut Arc::make_mut(&mut self.0.row).body);
        self
    }
}

/// A batch whose position is that of its last row.
pub(crate) fn batch(rows: impl IntoIterator<Item = Sample>) -> Batch {
    let rows: Vec<NewRow> = rows.into_iter().map(|Sample(new)| new).collect();
    let last = &rows.last().expect("a batch of rows").row;
    let position = position(last.pointer.stream, last.pointer.sequence, last.stored_at);
    Batch { rows, position, gaps: Vec::new() }
}

/// A position in a stream.
pub(crate) fn position(stream: StreamNumber, sequence: u64, stored_at: Timestamp) -> Position {
    Position { stream, created_at: created(), reading: 0, missed_after: 0, sequence, stored_at }
}

/// The rows that have an id.
pub(crate) async fn found(store: &dyn Store, id: &str) -> Vec<Row> {
    let found = store.find(vec![key(id)], MANY).await.unwrap();
    assert!(!found.is_cut);
    found.rows
}

/// The sequences of rows.
pub(crate) fn sequences<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<u64> {
    rows.into_iter().map(|row| row.pointer.sequence).collect()
}
