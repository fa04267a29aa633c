//! How messages that an operator published again become entries of the audit log: one entry for each run, whose counts grow as its
//! messages are read. Pure; the engines keep what it says.
//!
//! An entry stays as it was written, like every other one. Its counts are beside it and only grow. Who and why is what the headers of
//! the message say, which anyone may set who may publish: the entry says so by a role and an address that are unknown.

use bus::replay::{BY_CHARS_MAX, REASON_CHARS_MAX, Replayed};
use jiff::Timestamp;

use crate::row::StreamNumber;
use crate::store::NewRow;
use crate::store::audit::{AuditAction, AuditEntry, ReplayCounts, masked, plain_name};

/// Most entries that the replays of an hour make; what further runs publish is counted in one more. A script that calls
/// `imchannel` for each dead letter, or a back end that sets the headers, does not fill the log.
pub const RUNS_PER_HOUR_MAX: u64 = 60;
/// What is not known of who and why.
pub const UNKNOWN: &str = "unknown";

/// Seconds of an hour.
const HOUR: i64 = 3600;

/// Messages of one run, and the entry that the audit log has for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Run {
    /// What identifies it.
    pub(in crate::store) key: String,
    /// The entry, if it has none yet. Its time is that of the first message.
    pub(in crate::store) entry: AuditEntry,
    /// What is to be added to its counts.
    pub(in crate::store) counts: ReplayCounts,
}

/// Times from one to the other, without the latter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Hour {
    /// Its begin.
    pub(in crate::store) since: Timestamp,
    /// Its end.
    pub(in crate::store) until: Timestamp,
}

/// The runs of new rows, in the order of their first messages. Each message is in one row that says that it was replayed.
pub(in crate::store) fn runs<'a>(rows: impl IntoIterator<Item = &'a NewRow>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for new in rows {
        let Some(found) = run(new) else { continue };
        match runs.iter_mut().find(|run| run.key == found.key) {
            Some(run) => run.add(&found),
            None => runs.push(found),
        }
    }
    runs
}

/// The run of a row that says that its message was replayed.
fn run(new: &NewRow) -> Option<Run> {
    let (replayed, row) = (new.replayed.as_deref()?, &new.row);
    let (events, commands) = match row.pointer.stream {
        StreamNumber::Events => (1, 0),
        StreamNumber::Commands => (0, 1),
        StreamNumber::Webhooks | StreamNumber::DeadLetters => return None,
    };
    let Replayed { run, by, reason } = replayed;
    let user = by.as_deref().map_or(UNKNOWN.to_owned(), |by| cut(&plain_name(by.trim()), BY_CHARS_MAX));
    let reason =
        reason.as_deref().map(|reason| cut(&masked(reason.trim()), REASON_CHARS_MAX)).unwrap_or_default();
    let hour = Hour::of(row.stored_at);
    let (of, target) = match run {
        Some(number) => (format!("run {number}"), format!("replay {number}")),
        None => {
            let from = hour.since;
            (format!("hour {}", from.as_second()), format!("replays of an unknown run, {from:.0}"))
        }
    };
    let details = format!("from {}/{}", row.pointer.stream.name(), row.pointer.sequence);
    Some(Run {
        // Texts have no line breaks.
        key: format!("{of}\n{user}\n{reason}"),
        entry: entry(row.stored_at, user, target, reason, details),
        counts: ReplayCounts { events, commands, last_at: row.stored_at },
    })
}

impl Run {
    fn add(&mut self, other: &Self) {
        self.counts.events += other.counts.events;
        self.counts.commands += other.counts.commands;
        self.counts.last_at = self.counts.last_at.max(other.counts.last_at);
    }

    /// The hour in which it began.
    pub(in crate::store) fn hour(&self) -> Hour {
        Hour::of(self.entry.at)
    }

    /// The same messages in the entry of the hour in which [`RUNS_PER_HOUR_MAX`] runs have entries already.
    pub(in crate::store) fn among_further(self) -> Self {
        let from = self.hour().since;
        let target = format!("further replays, {from:.0}");
        let details = format!("{}; more than {RUNS_PER_HOUR_MAX} runs within the hour", self.entry.details);
        let entry = entry(self.entry.at, UNKNOWN.to_owned(), target, String::new(), details);
        Self { key: format!("further {}", from.as_second()), entry, counts: self.counts }
    }
}

impl Hour {
    fn of(time: Timestamp) -> Self {
        let since = time.as_second().div_euclid(HOUR) * HOUR;
        let at = |second| Timestamp::from_second(second).unwrap_or(time);
        Self { since: at(since), until: at(since + HOUR) }
    }
}

fn entry(at: Timestamp, user: String, target: String, reason: String, details: String) -> AuditEntry {
    let unknown = || UNKNOWN.to_owned();
    AuditEntry {
        at,
        user,
        role: unknown(),
        address: unknown(),
        action: AuditAction::Replay,
        target,
        reason,
        details,
    }
}

/// The beginning of a text.
fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::row::RowKind;
    use crate::rules::tests::rows::{at, row};

    fn replayed(stream: StreamNumber, seconds: f64, replayed: Option<Replayed>) -> NewRow {
        let row = row(RowKind::Report, stream, 5, seconds);
        NewRow {
            row: Arc::new(row),
            expected: Vec::new(),
            settled: Vec::new(),
            replayed: replayed.map(Box::new),
        }
    }

    fn by(run: Option<u64>, by: &str, reason: &str) -> Option<Replayed> {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Replayed { run, by: text(by), reason: text(reason) })
    }

    #[test]
    fn the_messages_of_a_run_are_one_entry() {
        let (events, commands) = (StreamNumber::Events, StreamNumber::Commands);
        let rows = [
            replayed(events, 1.0, by(Some(7), "ann", "ticket 17")),
            replayed(events, 2.0, None),
            replayed(events, 4.0, by(Some(7), "ann", "ticket 17")),
            replayed(commands, 3.0, by(Some(7), "ann", "ticket 17")),
            replayed(commands, 3.0, by(Some(7), "bob", "ticket 17")),
            replayed(StreamNumber::Webhooks, 3.0, by(Some(7), "bob", "ticket 17")),
        ];
        let runs = runs(&rows);
        let counts: Vec<_> = runs.iter().map(|run| (run.counts.events, run.counts.commands)).collect();
        assert_eq!(counts, [(2, 1), (0, 1)]);
        let AuditEntry { at: began, user, role, address, action, target, reason, details } =
            runs[0].entry.clone();
        assert_eq!((began, runs[0].counts.last_at), (at(1.0), at(4.0)));
        assert_eq!((&*user, &*role, &*address), ("ann", UNKNOWN, UNKNOWN));
        assert_eq!((action, &*target, &*reason), (AuditAction::Replay, "replay 7", "ticket 17"));
        assert_eq!(details, "from EVENTS/5");
    }

    #[test]
    fn what_is_not_known_is_said_and_grouped_by_the_hour() {
        let stream = StreamNumber::Commands;
        let rows = [0.0, 60.0, 3600.0].map(|seconds| replayed(stream, seconds, by(None, "", "")));
        let runs = runs(&rows);
        assert_eq!(runs.iter().map(|run| run.counts.commands).collect::<Vec<_>>(), [2, 1]);
        let entry = &runs[0].entry;
        assert_eq!((entry.user.as_str(), entry.reason.as_str()), (UNKNOWN, ""));
        assert!(entry.target.starts_with("replays of an unknown run, 20"), "{}", entry.target);
        assert!(runs[0].hour().since <= at(0.0) && at(60.0) < runs[0].hour().until);
        let further = runs[0].clone().among_further();
        assert_eq!(further.counts, runs[0].counts);
        assert!(further.entry.details.contains("more than 60 runs"), "{}", further.entry.details);
    }

    #[test]
    fn a_header_names_no_customer_and_has_no_control_characters() {
        let long = "a".repeat(500);
        let rows = [
            replayed(
                StreamNumber::Events,
                1.0,
                by(Some(1), "4915112345678", "call +49 151 12345678\u{1b}[2J"),
            ),
            replayed(StreamNumber::Events, 1.0, by(Some(1), &long, &long)),
            replayed(StreamNumber::Events, 1.0, by(Some(1), "A1234567", "of A1234567")),
        ];
        let runs = runs(&rows);
        assert_eq!((&*runs[2].entry.user, &*runs[2].entry.reason), ("A1234567", "of A***"));
        assert_eq!((&*runs[0].entry.user, &*runs[0].entry.reason), ("***", "call ***\u{fffd}[2J"));
        assert!(!runs[0].key.contains("12345678"), "{}", runs[0].key);
        assert_eq!(runs[1].entry.user.len(), BY_CHARS_MAX);
        assert_eq!(runs[1].entry.reason.len(), REASON_CHARS_MAX);
    }
}
