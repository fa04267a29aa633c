//! The timeline's embedded store: rows a second, look-ups over many days, and bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use jiff::{Span, Timestamp};
use timeline::row::{IdKind, Link, LookupKey, Pointer, Recipient, RecipientKey, Row, RowKind, StreamNumber};
use timeline::rules::{Expectation, RuleName, Settled, Settlement};
use timeline::store::sqlite::SqliteStore;
use timeline::store::{BATCH_ROWS_MAX, Batch, Listing, NewRow, Position, Store};

use crate::output;
use crate::results::{self, Aim, Measured};
use crate::suite::Effort;
use crate::suite::timeline_figures::{ROWS_PER_MESSAGE, StoreFigures};

/// Days over which the rows are spread.
pub(crate) const DAYS: u64 = 30;
/// Customers who are written to.
const CUSTOMERS: u64 = 100_000;
/// Look-ups of each kind.
const LOOK_UPS: u64 = 5000;
/// Rows of a listing.
const LISTED_ROWS: usize = 100;
/// Time between the messages of a channel's webhooks, in milliseconds: a report comes that long after the step before.
const STEP_MILLIS: u64 = 900;
/// Milliseconds of a day.
const DAY_MILLIS: u64 = 86_400_000;

pub(crate) async fn measure(effort: Effort) -> anyhow::Result<Measured> {
    // The process's peak memory begins again: earlier parts used more (proc_pid_clear_refs(5)).
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path().join("timeline")).await?;
    let mut generator = Generator::of_rows(effort.rows);
    let per_day = generator.per_day;
    let (mut rows, mut time) = (0, Duration::ZERO);
    for day in 0..DAYS {
        let (day_rows, day_time) = fill(&store, &mut generator, day).await?;
        output::say(&format!("  day {day}: {:.0} rows/s", per_second(day_rows, day_time)));
        rows += day_rows;
        time += day_time;
    }
    let started = Instant::now();
    store.close_days(Duration::ZERO).await?;
    output::say(&format!("  filters written in {:.1} s", started.elapsed().as_secs_f64()));
    let files_before = store.files_read();
    let look_ups = look_up(&store, per_day).await?;
    let files = store.files_read() - files_before;
    let customers = list(&store).await?;
    let figures = StoreFigures {
        rows,
        rows_per_second: per_second(rows, time),
        rows_per_second_min: 20_000.0,
        bytes: store.size().await?,
        look_ups,
        customers,
    };
    let mut measured = figures.measured();
    let files = per_second(files, Duration::from_secs(LOOK_UPS));
    let files = results::Row::alone("files", "files read by a look-up, mean", std::iter::once(files));
    let memory =
        results::Row::alone("memory", "most memory, with the generator, MiB", peak_mib().into_iter());
    measured.rows.extend(files.map(|row| row.with_aim(Aim::AtMost(3.0))));
    measured.rows.extend(memory.map(|row| row.with_aim(Aim::Below(128.0))));
    Ok(measured)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
pub(super) fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// Stores the rows of a day, a batch of each stream after the other. Returns their number, and the time that it took.
pub(super) async fn fill(
    store: &dyn Store,
    generator: &mut Generator,
    day: u64,
) -> anyhow::Result<(u64, Duration)> {
    let (mut rows, mut time) = (0, Duration::ZERO);
    // As many messages as fill a batch of the stream that has most rows of each.
    let step = u64::try_from(BATCH_ROWS_MAX / 5)?;
    let mut first = 0;
    while first < generator.per_day {
        let messages = first..(first + step).min(generator.per_day);
        for stream in [StreamNumber::Commands, StreamNumber::Webhooks, StreamNumber::Events] {
            let batch = generator.batch(stream, day, messages.clone());
            let started = Instant::now();
            rows += u64::try_from(store.append(batch).await?.rows)?;
            time += started.elapsed();
        }
        first += step;
    }
    Ok((rows, time))
}

/// Looks up random messages, by the three ids that their rows share.
pub(super) async fn look_up(store: &dyn Store, per_day: u64) -> anyhow::Result<Histogram<u64>> {
    let mut times = Histogram::new(3)?;
    for number in 0..LOOK_UPS {
        let message = mixed(number) % (DAYS * per_day);
        let keys = vec![
            key(Purpose::Command, message),
            key(Purpose::Message, message),
            key(Purpose::Provider, message),
        ];
        let started = Instant::now();
        let found = store.find(keys, 1000).await?;
        times.record(u64::try_from(started.elapsed().as_nanos())?)?;
        anyhow::ensure!(found.rows.len() == 6, "{} rows of message {message}", found.rows.len());
    }
    Ok(times)
}

/// Lists the rows of random customers.
pub(super) async fn list(store: &dyn Store) -> anyhow::Result<Histogram<u64>> {
    let mut times = Histogram::new(3)?;
    for number in 0..LOOK_UPS {
        let recipient = RecipientKey(key(Purpose::Customer, mixed(number) % CUSTOMERS).0);
        let listing =
            Listing { since: Timestamp::MIN, until: Timestamp::MAX, after: None, limit: LISTED_ROWS };
        let started = Instant::now();
        store.of_recipient(recipient, listing).await?;
        times.record(u64::try_from(started.elapsed().as_nanos())?)?;
    }
    Ok(times)
}

/// Makes the rows of messages.
pub(super) struct Generator {
    pub(super) per_day: u64,
    /// The last sequence of each stream.
    streams: [u64; StreamNumber::ALL.len()],
}

/// What a key is of.
#[derive(Debug, Clone, Copy)]
enum Purpose {
    Command = 1,
    Message,
    Provider,
    Event,
    Stored,
    Customer,
}

/// A key as random as a hash.
fn key(purpose: Purpose, number: u64) -> LookupKey {
    let first = mixed((number << 4) | purpose as u64);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&first.to_be_bytes());
    key[8..].copy_from_slice(&mixed(first).to_be_bytes());
    LookupKey(key)
}

/// The finalizer of SplitMix64.
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn start() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().expect("it is a time")
}

impl Generator {
    /// One that makes this many rows in [`DAYS`].
    pub(super) fn of_rows(rows: u64) -> Self {
        let per_day = (rows / DAYS / ROWS_PER_MESSAGE).max(1);
        Self { per_day, streams: [0; StreamNumber::ALL.len()] }
    }

    /// The rows that a stream has of some messages of a day.
    fn batch(&mut self, stream: StreamNumber, day: u64, messages: std::ops::Range<u64>) -> Batch {
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
            created_at: start(),
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
        let customer = RecipientKey(key(Purpose::Customer, mixed(message) % CUSTOMERS).0);
        let row = Row {
            pointer: Pointer { stream, sequence, part },
            stored_at: start() + at,
            happened_at: Some(start() + at),
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
    let stored = (u64::from(stream as u8) << 56) | sequence;
    let link = |kind: IdKind, key: LookupKey, shown: &str| Link { kind, key, shown: shown.to_owned() };
    let own = link(IdKind::Stored, key(Purpose::Stored, stored), &format!("{}/{sequence}", stream.name()));
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

fn peak_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? / 1024.0)
}
