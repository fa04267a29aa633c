//! Makes answers of rows and lives. Pure.

use std::collections::HashSet;

use jiff::Timestamp;
use proto::v1::{ReportStatus, SendOutcome};

use crate::http::answer::{
    ErrorAnswer, GapAnswer, Headline, IdAnswer, LifeAnswer, LiveAnswer, MissingAnswer, NoteAnswer, ReadUntil,
    RowAnswer, UnreadableAnswer, advice,
};
use crate::life::{DEAD_LETTER, Life, Missing, RECEIVED, WAITING, clock_difference, time_of};
use crate::progress::Progress;
use crate::row::{Recipient, Row, RowKind, Status};
use crate::store::{Gap, Gaps, Store, Unreadable};

/// More than the greatest number of a status.
const NUMBERS_MAX: i32 = 100;

/// A life as an answer.
pub(in crate::http) fn life(life: &Life) -> LifeAnswer {
    let gaps = life.gaps().into_iter().map(|gap| i64::try_from(gap.as_millis()).unwrap_or(i64::MAX));
    let rows = life.rows.iter().zip(gaps).enumerate();
    let notes = life.notes.iter().map(|note| NoteAnswer { row: note.row, text: note.text.clone() });
    LifeAnswer {
        headline: headline(life),
        rows: rows.map(|(index, (of, gap))| row(of, (index > 0).then_some(gap))).collect(),
        missing: life.missing.iter().map(missing).collect(),
        notes: notes.chain(advice::notes(life)).collect(),
    }
}

/// The line of a life.
pub(in crate::http) fn headline(life: &Life) -> Headline {
    let times = || life.rows.iter().map(|row| row.stored_at);
    Headline {
        channel: life.channel().to_owned(),
        bsp: life.bsp().to_owned(),
        tenant: life.tenant().to_owned(),
        direction: life.direction().name().to_owned(),
        status: life.status().to_owned(),
        outcome: life.outcome().map(|outcome| Status::Outcome(outcome).name().to_owned()),
        command_id: life.command_id().map(str::to_owned),
        message_id: life.message_id().map(str::to_owned),
        recipient: recipient(life.recipient()),
        summary: summary(&life.rows),
        began: times().min().unwrap_or(Timestamp::UNIX_EPOCH),
        ended: times().max().unwrap_or(Timestamp::UNIX_EPOCH),
    }
}

/// What a message is: its command or the event says it, not what was done with it. A webhook says only its size.
fn summary(rows: &[Row]) -> String {
    let is_alone = rows.iter().all(|row| row.kind == RowKind::Webhook);
    let says_it = |row: &&Row| match row.kind {
        RowKind::Command | RowKind::Message | RowKind::Account | RowKind::Customer | RowKind::DeadLetter => {
            !row.summary.is_empty()
        }
        RowKind::Webhook => is_alone,
        RowKind::Attempt | RowKind::Result | RowKind::Fetch | RowKind::Report => false,
    };
    rows.iter().find(says_it).map(|row| row.summary.clone()).unwrap_or_default()
}

/// Statuses of a life without report and result; see [`Life::status`].
const OTHER_STATUSES: [&str; 3] = [WAITING, RECEIVED, DEAD_LETTER];

/// Every status that a life may have.
pub(in crate::http) fn statuses() -> Vec<&'static str> {
    let reports = names(|number| ReportStatus::try_from(number).ok().map(Status::Report));
    let mut all = [reports, outcomes(), OTHER_STATUSES.to_vec()].concat();
    let mut seen = HashSet::new();
    all.retain(|name| seen.insert(*name));
    all
}

/// Every outcome of a send.
pub(in crate::http) fn outcomes() -> Vec<&'static str> {
    names(|number| SendOutcome::try_from(number).ok().map(Status::Outcome))
}

/// The names of an enum's numbers but 0, which no message has.
fn names(status: fn(i32) -> Option<Status>) -> Vec<&'static str> {
    (1..NUMBERS_MAX).filter_map(status).map(Status::name).collect()
}

/// What is missing as an answer.
pub(in crate::http) fn missing(missing: &Missing) -> MissingAnswer {
    MissingAnswer {
        rule: missing.rule.name().to_owned(),
        since: missing.since,
        due: missing.due,
        text: missing.text.clone(),
        advice: missing.advice.clone(),
    }
}

/// A row as an answer. `after_ms` is the time since the row before it.
fn row(row: &Row, after_ms: Option<i64>) -> RowAnswer {
    RowAnswer {
        at: time_of(row),
        happened_at: row.happened_at,
        after_ms,
        kind: row.kind.name().to_owned(),
        replayed: row.is_replayed,
        status: row.status.map(|status| status.name().to_owned()),
        error: row.error.as_ref().map(|error| ErrorAnswer {
            code: error.code.clone(),
            name: error.name.clone(),
            text: error.text.clone(),
        }),
        summary: row.summary.clone(),
        pointer: pointer(row),
        part: row.pointer.part,
        ids: row
            .links
            .iter()
            .map(|link| IdAnswer { kind: link.kind.name().to_owned(), id: link.shown.clone() })
            .collect(),
        // As it is, it is personal: `POST /v1/unmask` shows it, and the audit log says so.
        body: body(&row.body).filter(|_| !row.is_whole),
        clock_difference_ms: clock_difference(row)
            .and_then(|difference| i64::try_from(difference.as_millis()).ok()),
    }
}

fn body(body: &str) -> Option<serde_json::Value> {
    if body.is_empty() {
        return None;
    }
    Some(serde_json::from_str(body).unwrap_or_else(|_| body.into()))
}

/// Where a row's message is stored: `EVENTS/5`.
pub(in crate::http) fn pointer(row: &Row) -> String {
    format!("{}/{}", row.pointer.stream.name(), row.pointer.sequence)
}

fn recipient(recipient: Option<&Recipient>) -> Option<String> {
    recipient.filter(|of| !of.last_digits.is_empty()).map(|of| format!("…{}", of.last_digits))
}

/// A new row as an event.
pub(in crate::http) fn live(of: &Row) -> LiveAnswer {
    LiveAnswer {
        channel: of.channel.clone(),
        bsp: of.bsp.clone(),
        recipient: recipient(of.recipient.as_ref()),
        row: row(of, None),
    }
}

/// How far each stream was read.
pub(in crate::http) fn read_until(progress: &Progress) -> Vec<ReadUntil> {
    let of = progress.0.iter().map(|stream| ReadUntil {
        stream: stream.stream.name().to_owned(),
        until: stream.read_until,
        sequence: stream.sequence,
        behind: stream.behind,
    });
    of.collect()
}

/// Most ranges of missed messages in an answer.
const MISSED_MAX: usize = 100;
/// Most parts of the store in an answer that cannot be read. A day is one, and the retention is a month.
const UNREADABLE_MAX: usize = 100;

/// Ranges of missed messages, and how many are left out.
#[derive(Debug, Default)]
pub(in crate::http) struct Missed {
    pub(in crate::http) ranges: Vec<GapAnswer>,
    pub(in crate::http) left_out: u64,
}

/// The ranges of missed messages for what began at a time: first those that end after it, from the earliest.
pub(in crate::http) fn missed(gaps: Gaps, began: Timestamp) -> Missed {
    let Gaps { mut ranges, left_out } = gaps;
    ranges.sort_by_key(|gap| (gap.before < began, gap.before, gap.stream, gap.first));
    let excess = ranges.len().saturating_sub(MISSED_MAX);
    ranges.truncate(MISSED_MAX);
    ranges.sort_by_key(|gap| (gap.before, gap.stream, gap.first));
    Missed { ranges: ranges.iter().map(gap).collect(), left_out: left_out + excess as u64 }
}

fn gap(gap: &Gap) -> GapAnswer {
    GapAnswer {
        stream: gap.stream.name().to_owned(),
        first: gap.first,
        last: gap.last,
        after: gap.after,
        before: gap.before,
    }
}

/// What a store cannot read.
pub(in crate::http) fn unreadable(store: &dyn Store) -> Vec<UnreadableAnswer> {
    let parts = store.unreadable().into_iter().take(UNREADABLE_MAX);
    parts.map(|Unreadable { part, text }| UnreadableAnswer { part, text }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::StreamNumber;

    #[test]
    fn the_ranges_that_may_concern_a_life_are_named_first_and_the_others_are_counted() {
        let at = |second: u64| Timestamp::from_second(i64::try_from(second).unwrap()).unwrap();
        let stream = StreamNumber::Events;
        let gap = |second| Gap { stream, first: second, last: second, after: None, before: at(second) };
        let gaps = Gaps { ranges: (1..=300).map(gap).collect(), left_out: 7 };
        let missed = missed(gaps.clone(), at(250));
        let firsts: Vec<u64> = missed.ranges.iter().map(|gap| gap.first).collect();
        assert_eq!((firsts.len(), missed.left_out), (MISSED_MAX, 207));
        assert_eq!(firsts, (1..50).chain(250..=300).collect::<Vec<_>>());
        assert_eq!(super::missed(gaps, at(1)).ranges[99].first, 100, "the earliest of them");
    }
}
