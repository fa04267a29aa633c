//! Rows, times and keys as the tables have them.

use jiff::Timestamp;
use tokio_postgres::Row as SqlRow;

use crate::row::stored::{self, Columns};
use crate::row::{LookupKey, Pointer, Row, RowKind, StreamNumber};
use crate::rules::{Expectation, RuleName};
use crate::store::error::StoreError;
use crate::store::postgres::fault;
use crate::store::{Gap, Place, Position};

/// The columns that [`row`] reads, of the table `r`.
pub(super) const ROW: &str = "r.stored_at, r.stream, r.sequence, r.part, r.kind, r.channel, r.blob";
/// The columns that [`expectation`] reads.
pub(super) const EXPECTATION: &str = "rule, key, channel, since, due, file";

/// The columns that [`position`] reads.
pub(super) const POSITION: &str = "stream, created_at, reading, missed_after, sequence, stored_at";

/// A time as the tables have it. A time before 1677 or after 2262 is the nearest that fits.
pub(super) fn nanoseconds(time: Timestamp) -> i64 {
    let exact = time.as_nanosecond();
    i64::try_from(exact).unwrap_or(if exact < 0 { i64::MIN } else { i64::MAX })
}

/// The time of a stored number.
pub(super) fn of_nanoseconds(number: i64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(number))
        .expect("64 bits of nanoseconds are within a timestamp's range")
}

/// A sequence as the tables have it. JetStream reaches no sequence above 2⁶³.
pub(super) fn of_sequence(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

/// The sequence of a stored number.
pub(super) fn sequence(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

/// A stream as the tables have it.
pub(super) fn of_stream(stream: StreamNumber) -> i16 {
    i16::from(stream as u8)
}

/// A rule as the tables have it.
pub(super) fn of_rule(rule: RuleName) -> i16 {
    i16::from(rule as u8)
}

fn stream(stored: i16) -> Option<StreamNumber> {
    StreamNumber::of_stored(i64::from(stored))
}

/// The place of the first four columns: time, stream, sequence, part.
pub(super) fn place(columns: &SqlRow) -> Result<Option<Place>, StoreError> {
    let Some(stream) = stream(columns.try_get(1)?) else { return Ok(None) };
    let part = u32::try_from(columns.try_get::<_, i64>(3)?).unwrap_or(u32::MAX);
    let pointer = Pointer { stream, sequence: sequence(columns.try_get(2)?), part };
    Ok(Some(Place { stored_at: of_nanoseconds(columns.try_get(0)?), pointer }))
}

/// A row; `None` for one of a stream or kind that only a later version has.
pub(super) fn row(columns: &SqlRow) -> Result<Option<Row>, StoreError> {
    let kind = RowKind::of_stored(i64::from(columns.try_get::<_, i16>(4)?));
    let (Some(place), Some(kind)) = (place(columns)?, kind) else { return Ok(None) };
    let of_row =
        Columns { pointer: place.pointer, stored_at: place.stored_at, kind, channel: channel(columns, 5)? };
    stored::decode(of_row, columns.try_get(6)?).map(Some).map_err(fault::unreadable)
}

/// Every row of an answer.
pub(super) fn rows(found: &[SqlRow]) -> Result<Vec<Row>, StoreError> {
    found.iter().filter_map(|columns| row(columns).transpose()).collect()
}

/// A channel's id.
pub(super) fn channel(columns: &SqlRow, at: usize) -> Result<String, StoreError> {
    String::from_utf8(columns.try_get(at)?).map_err(fault::unreadable)
}

/// A key.
pub(super) fn key(stored: &[u8]) -> Result<LookupKey, StoreError> {
    stored.try_into().map(LookupKey).map_err(fault::unreadable)
}

/// An expectation; `None` for one of a rule that only a later version has.
pub(super) fn expectation(columns: &SqlRow) -> Result<Option<Expectation>, StoreError> {
    let rule = RuleName::of_stored(i64::from(columns.try_get::<_, i16>(0)?));
    let Some(rule) = rule else { return Ok(None) };
    let file = columns.try_get::<_, Option<&[u8]>>(5)?.map(key).transpose()?;
    Ok(Some(Expectation {
        rule,
        key: key(columns.try_get(1)?)?,
        file,
        channel: channel(columns, 2)?,
        since: of_nanoseconds(columns.try_get(3)?),
        due: of_nanoseconds(columns.try_get(4)?),
    }))
}

/// A position; `None` for one of a stream that only a later version has.
pub(super) fn position(columns: &SqlRow) -> Result<Option<Position>, StoreError> {
    let Some(stream) = stream(columns.try_get(0)?) else { return Ok(None) };
    Ok(Some(Position {
        stream,
        created_at: of_nanoseconds(columns.try_get(1)?),
        reading: u32::try_from(columns.try_get::<_, i64>(2)?).unwrap_or(u32::MAX),
        missed_after: sequence(columns.try_get(3)?),
        sequence: sequence(columns.try_get(4)?),
        stored_at: of_nanoseconds(columns.try_get(5)?),
    }))
}

/// The gap of the columns stream, first, last, after, before.
pub(super) fn gap(columns: &SqlRow) -> Result<Option<Gap>, StoreError> {
    let Some(stream) = stream(columns.try_get(0)?) else { return Ok(None) };
    Ok(Some(Gap {
        stream,
        first: sequence(columns.try_get(1)?),
        last: sequence(columns.try_get(2)?),
        after: columns.try_get::<_, Option<i64>>(3)?.map(of_nanoseconds),
        before: of_nanoseconds(columns.try_get(4)?),
    }))
}
