//! Listings of a day, from the newest row to the oldest.

use rusqlite::{Connection, OptionalExtension, Row as SqlRow, params};

use crate::row::{RecipientKey, Row};
use crate::store::sqlite::columns;
use crate::store::sqlite::day::{Day, nanoseconds};
use crate::store::sqlite::fault::Sql;
use crate::store::sqlite::filter::build::last_row;
use crate::store::sqlite::find::Content;
use crate::store::sqlite::schema::SEGMENT_ROWS;
use crate::store::{End, Listing, SequenceQuery};

/// Time, stream, sequence and part of a row, then its number. Their order is that of rows.
type Numbered = [i64; 5];

/// Which rows of a day are listed.
#[derive(Debug)]
pub(super) struct Range {
    since: i64,
    /// The rows before it are.
    end: [i64; 4],
}

impl Range {
    /// The rows of a listing.
    pub(super) fn of(listing: &Listing) -> Self {
        let until = [nanoseconds(listing.until), 0, 0, 0];
        let end = listing.after.as_ref().map(columns::of_place).map_or(until, |after| after.min(until));
        Self { since: nanoseconds(listing.since), end }
    }

    /// The condition, whose parameters are 1 to 6.
    const CONDITION: &str = "stored_at >= ?1 AND (stored_at, stream, sequence, part) < (?2, ?3, ?4, ?5)";
    /// The order, from the newest.
    const ORDER: &str = "ORDER BY stored_at DESC, stream DESC, sequence DESC, part DESC LIMIT ?6";
}

/// Whether a day may have rows of a listing.
pub(super) fn may_have(day: Day, listing: &Listing) -> bool {
    let last = listing.after.map_or(listing.until, |after| listing.until.min(after.stored_at));
    Day::of(listing.since) <= day && day <= Day::of(last)
}

/// A customer's rows.
pub(super) fn of_recipient(
    day: &Connection,
    recipient: RecipientKey,
    range: &Range,
    limit: usize,
) -> Sql<Vec<Row>> {
    let query = format!(
        "SELECT stored_at, stream, sequence, part, number FROM recipients
         WHERE segment = ?7 AND key = ?8 AND {} {}",
        Range::CONDITION,
        Range::ORDER
    );
    let key = columns::of_key(&recipient.0);
    let mut statement = day.prepare(&query)?;
    let mut found = Vec::new();
    // Segments are in the order in which rows came, which is not that of their times.
    for segment in 0..=last_row(day)? / SEGMENT_ROWS {
        let Range { since, end: [stored_at, stream, sequence, part] } = range;
        let of_segment = statement.query_map(
            params![since, stored_at, stream, sequence, part, most(limit), segment, key],
            numbered,
        )?;
        for row in of_segment {
            found.push(row?);
        }
        newest(&mut found, limit);
    }
    let is_theirs = |row: &Row| row.recipient.as_ref().is_some_and(|of| of.key == recipient);
    Ok(rows(day, &found)?.into_iter().filter(is_theirs).collect())
}

/// The rows that begin a message, of one channel or of all.
pub(super) fn beginnings(
    day: &Connection,
    channel: Option<&str>,
    range: &Range,
    limit: usize,
) -> Sql<Vec<Row>> {
    let number = match channel {
        None => None,
        Some(channel) => {
            let number = day.query_row("SELECT number FROM channels WHERE id = ?1", [channel], |row| {
                row.get::<_, i64>(0)
            });
            match number.optional()? {
                None => return Ok(Vec::new()),
                number => number,
            }
        }
    };
    let of_channel = if number.is_some() { "channel = ?7 AND" } else { "?7 IS NULL AND" };
    let query = format!(
        "SELECT stored_at, stream, sequence, part, number FROM beginnings WHERE {of_channel} {} {}",
        Range::CONDITION,
        Range::ORDER
    );
    let Range { since, end: [stored_at, stream, sequence, part] } = range;
    let mut statement = day.prepare(&query)?;
    let found = statement
        .query_map(params![since, stored_at, stream, sequence, part, most(limit), number], numbered)?
        .collect::<Sql<Vec<Numbered>>>()?;
    rows(day, &found)
}

/// Rows of a stream by their sequences.
pub(super) fn by_sequence(day: &Connection, query: &SequenceQuery) -> Sql<Vec<Row>> {
    let order = match query.from {
        End::Oldest => "ASC",
        End::Newest => "DESC",
    };
    let text = format!(
        "{} WHERE r.stream = ?1 AND r.sequence > ?2 AND r.stored_at >= ?3 ORDER BY r.sequence {order}, r.stored_at {order}, r.part {order} LIMIT ?4",
        columns::ROW
    );
    let (stream, after) = (query.stream as u8, columns::of_sequence(query.after));
    let mut statement = day.prepare(&text)?;
    let found = statement
        .query_map(params![stream, after, nanoseconds(query.since), most(query.limit)], columns::row)?;
    found.filter_map(|row| row.transpose().map(|row| row.map(|row| Content::Brief.of(row)))).collect()
}

fn numbered(columns: &SqlRow<'_>) -> Sql<Numbered> {
    Ok([columns.get(0)?, columns.get(1)?, columns.get(2)?, columns.get(3)?, columns.get(4)?])
}

fn newest(found: &mut Vec<Numbered>, limit: usize) {
    found.sort_unstable_by(|one, other| other.cmp(one));
    found.truncate(limit);
}

fn most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn rows(day: &Connection, found: &[Numbered]) -> Sql<Vec<Row>> {
    let mut statement = day.prepare(&format!("{} WHERE r.number = ?1", columns::ROW))?;
    let mut rows = Vec::with_capacity(found.len());
    for [.., number] in found {
        let row = statement.query_row([number], columns::row).optional()?.flatten();
        rows.extend(row.map(|row| Content::Brief.of(row)));
    }
    Ok(rows)
}
