//! The rows of the timeline's measurements: the lives of sent messages.

use std::sync::{Arc, LazyLock};

use jiff::{Span, Timestamp};
use timeline::row::{
    IdKind, Keys, Link, LookupKey, Pointer, Recipient, RecipientKey, Row, RowKind, StreamNumber,
};
use timeline::rules::{Expectation, RuleName, Settled, Settlement};
use timeline::store::{Batch, NewRow, Position};

/// Days over which the rows are spread.
pub(super) const DAYS: u64 = 30;
/// Rows of a message: command, attempt, result, three webhooks and their reports.
pub(super) const ROWS_PER_MESSAGE: u64 = 9;
/// Customers who are written to.
const CUSTOMERS: u64 = 100_000;
/// Time between the messages of a channel's webhooks, in milliseconds: a report comes that long after the step before.
const STEP_MILLIS: u64 = 900;
/// Milliseconds of a day.
const DAY_MILLIS: u64 = 86_400_000;

/// Makes the rows of messages.
pub(super) struct Generator {
    pub(super) per_day: u64,
    /// The last sequence of each stream.
    streams: [u64; StreamNumber::ALL.len()],
}

/// What an id is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Command,
    Message,
    Provider,
    Event,
}

/// The secret of the hashes, as the setting has it.
pub(super) const SECRET: [u8; 32] = [7; 32];
static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys::of_secret(&SECRET));

/// An id, as a client knows it.
pub(super) fn id(purpose: Purpose, number: u64) -> String {
    match purpose {
        Purpose::Command => format!("order-{number}"),
        Purpose::Message => format!("wamid.bench-{number}"),
        Purpose::Provider => format!("provider-{number}"),
        Purpose::Event => format!("event-{number}"),
    }
}

/// The number of a customer.
pub(super) fn customer(number: u64) -> String {
    format!("4917{:08}", mixed(number) % CUSTOMERS)
}

/// The key of an id.
pub(super) fn key(purpose: Purpose, number: u64) -> LookupKey {
    KEYS.id(&id(purpose, number))
}

/// The key of a customer.
pub(super) fn customer_key(number: u64) -> RecipientKey {
    KEYS.recipient(&customer(number))
}

/// The finalizer of SplitMix64.
pub(super) fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// When the first row was stored: the last one is not in the future.
static START: LazyLock<Timestamp> = LazyLock::new(|| {
    let hours = i64::try_from(DAYS * 24).expect("30 days are less");
    Timestamp::now() - Span::new().hours(hours)
});

impl Generator {
    /// One that makes this many rows in [`DAYS`].
    pub(super) fn of_rows(rows: u64) -> Self {
        let per_day = (rows / DAYS / ROWS_PER_MESSAGE).max(1);
        Self { per_day, streams: [0; StreamNumber::ALL.len()] }
    }

    /// The rows that a stream has of some messages of a day.
    pub(super) fn batch(&mut self, stream: StreamNumber, day: u64, messages: std::ops::Range<u64>) -> Batch {
        let mut rows = Vec::new();
        let step = (DAY_MILLIS - 5 * STEP_MILLIS) / self.per_day;
        for number in messages {
            let message = day * self.per_day + number;
            let sent_at = day * DAY_MILLIS + number * step;
            match stream {
                StreamNumber::Commands => rows.push(self.command(message, sent_at)),
                StreamNumber::Webhooks => {
                    for report in 1..=3 {
                        let at = sent_at + report * STEP_MILLIS;
                        rows.push(self.row(RowKind::Webhook, message, at, 0));
                    }
                }
                _ => self.events(message, sent_at, &mut rows),
            }
        }
        let last = rows.last().expect("each message has a row in each stream");
        let position = Position {
            stream,
            created_at: *START,
            reading: 0,
            missed_after: 0,
            sequence: last.row.pointer.sequence,
            stored_at: last.row.stored_at,
        };
        Batch { rows, position, gaps: Vec::new() }
    }

    fn command(&mut self, message: u64, at: u64) -> NewRow {
        let mut new = self.row(RowKind::Command, message, at, 0);
        new.expected.push(expected(RuleName::NoResult, key(Purpose::Command, message), &new.row));
        new.expected.push(expected(RuleName::Delivery, key(Purpose::Message, message), &new.row));
        new
    }

    /// Result and attempt, and the three reports.
    fn events(&mut self, message: u64, sent_at: u64, rows: &mut Vec<NewRow>) {
        let at = sent_at + STEP_MILLIS / 2;
        let mut result = self.row(RowKind::Result, message, at, 0);
        result.settled.push(settled(RuleName::NoResult, key(Purpose::Command, message), &result.row));
        result.expected.push(expected(RuleName::NoReport, key(Purpose::Message, message), &result.row));
        let attempt = self.row(RowKind::Attempt, message, at, 1);
        rows.extend([result, attempt]);
        for report in 1..=3 {
            let mut new = self.row(RowKind::Report, message, sent_at + report * STEP_MILLIS + 5, 0);
            for rule in [RuleName::NoReport, RuleName::Delivery] {
                let settled = settled(rule, key(Purpose::Message, message), &new.row);
                new.settled.push(settled);
            }
            rows.push(new);
        }
    }

    fn row(&mut self, kind: RowKind, message: u64, at_millis: u64, part: u32) -> NewRow {
        let stream = match kind {
            RowKind::Command => StreamNumber::Commands,
            RowKind::Webhook => StreamNumber::Webhooks,
            _ => StreamNumber::Events,
        };
        let last = &mut self.streams[stream as usize - 1];
        *last += u64::from(part == 0);
        let sequence = *last;
        let at = Span::new().milliseconds(i64::try_from(at_millis).expect("30 days are less"));
        let has_customer = kind != RowKind::Webhook;
        let customer = customer_key(message);
        let row = Row {
            pointer: Pointer { stream, sequence, part },
            stored_at: *START + at,
            happened_at: Some(*START + at),
            kind,
            is_replayed: false,
            is_bulk: false,
            is_whole: false,
            bsp: "infobip".to_owned(),
            channel: "202105102694809992".to_owned(),
            tenant: "tenant-1".to_owned(),
            status: None,
            error: None,
            links: links(kind, message, stream, sequence),
            recipient: has_customer.then(|| Recipient { key: customer, last_digits: "78".to_owned() }),
            summary: "template order_update".to_owned(),
            body: if has_customer { BODY.to_owned() } else { String::new() },
        };
        NewRow { row: Arc::new(row), expected: Vec::new(), settled: Vec::new(), replayed: None }
    }
}

fn settled(rule: RuleName, key: LookupKey, row: &Row) -> Settlement {
    Settlement { rule, key, of: Settled::Id, channel: row.channel.clone() }
}

/// A small message as JSON, masked.
const BODY: &str =
    r#"{"channel":"202105102694809992","to":"***78","template":{"name":"order_update","language":"en"}}"#;

fn links(kind: RowKind, message: u64, stream: StreamNumber, sequence: u64) -> Vec<Link> {
    let link = |kind: IdKind, key: LookupKey, shown: &str| Link { kind, key, shown: shown.to_owned() };
    let own =
        link(IdKind::Stored, KEYS.stored(stream.name(), sequence), &format!("{}/{sequence}", stream.name()));
    if kind == RowKind::Webhook {
        return vec![own];
    }
    let mut links = vec![own, link(IdKind::Message, key(Purpose::Message, message), "wamid.…Y0AA==")];
    if kind == RowKind::Report {
        links.push(link(
            IdKind::Event,
            key(Purpose::Event, sequence),
            "742f868d-c9e9-4eda-b5c0-2747cb7ef773",
        ));
        links.push(link(IdKind::ProviderMessage, key(Purpose::Provider, message), "742f868d-c9e9-4eda-b5c0"));
    } else {
        links.push(link(IdKind::Command, key(Purpose::Command, message), "order-1234567-update"));
    }
    links
}

fn expected(rule: RuleName, key: LookupKey, row: &Row) -> Expectation {
    let due = row.stored_at + Span::new().minutes(15);
    Expectation { rule, key, file: None, channel: row.channel.clone(), since: row.stored_at, due }
}
