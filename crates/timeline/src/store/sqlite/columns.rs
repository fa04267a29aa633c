//! Rows and keys as the tables of a day have them.

use rusqlite::types::Type;
use rusqlite::{Connection, Row as SqlRow, ToSql, Transaction, params};

use crate::row::keys::KEY_BYTES;
use crate::row::stored::{self, Columns};
use crate::row::{Pointer, Row, RowKind, StreamNumber};
use crate::store::sqlite::day::{nanoseconds, of_nanoseconds};
use crate::store::sqlite::fault::Sql;
use crate::store::{Gap, Place, Position};

/// The columns that [`row`] reads.
pub(super) const ROW: &str = "SELECT r.stream, r.sequence, r.stored_at, r.part, r.kind, c.id, r.blob FROM rows r JOIN channels c ON c.number = r.channel";

/// A row; `None` for one of a stream or kind that only a later version has.
pub(super) fn row(columns: &SqlRow<'_>) -> Sql<Option<Row>> {
    let (Some(pointer), Some(kind)) = (pointer(columns)?, RowKind::of_stored(columns.get(4)?)) else {
        return Ok(None);
    };
    let stored_at = of_nanoseconds(columns.get(2)?);
    let blob = columns.get_ref(6)?.as_blob()?;
    let columns = Columns { pointer, stored_at, kind, channel: columns.get(5)? };
    let row = stored::decode(columns, blob)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(6, Type::Blob, Box::new(error)))?;
    Ok(Some(row))
}

/// The place of the columns stream, sequence, time, part.
pub(super) fn place(columns: &SqlRow<'_>) -> Sql<Option<Place>> {
    let stored_at = of_nanoseconds(columns.get(2)?);
    Ok(pointer(columns)?.map(|pointer| Place { stored_at, pointer }))
}

fn pointer(columns: &SqlRow<'_>) -> Sql<Option<Pointer>> {
    let Some(stream) = StreamNumber::of_stored(columns.get(0)?) else { return Ok(None) };
    Ok(Some(Pointer { stream, sequence: sequence(columns.get(1)?), part: columns.get(3)? }))
}

/// The columns of a position.
const POSITION: &str = "stream, created_at, reading, missed_after, sequence, stored_at";

/// Every position of a file.
pub(super) fn positions(file: &Connection) -> Sql<Vec<Position>> {
    all(file, &format!("SELECT {POSITION} FROM positions"), &[], position)
}

/// Every range of missed messages of a file.
pub(super) fn gaps(file: &Connection) -> Sql<Vec<Gap>> {
    all(file, "SELECT stream, first, last, after, before FROM gaps", &[], gap)
}

fn position(columns: &SqlRow<'_>) -> Sql<Option<Position>> {
    let Some(stream) = StreamNumber::of_stored(columns.get(0)?) else { return Ok(None) };
    Ok(Some(Position {
        stream,
        created_at: of_nanoseconds(columns.get(1)?),
        reading: columns.get(2)?,
        missed_after: sequence(columns.get(3)?),
        sequence: sequence(columns.get(4)?),
        stored_at: of_nanoseconds(columns.get(5)?),
    }))
}

/// The columns of a gap are stream, first, last, after, before.
pub(super) fn gap(columns: &SqlRow<'_>) -> Sql<Option<Gap>> {
    let Some(stream) = StreamNumber::of_stored(columns.get(0)?) else { return Ok(None) };
    let after: Option<i64> = columns.get(3)?;
    Ok(Some(Gap {
        stream,
        first: sequence(columns.get(1)?),
        last: sequence(columns.get(2)?),
        after: after.map(of_nanoseconds),
        before: of_nanoseconds(columns.get(4)?),
    }))
}

/// Stores a position unless a later one is there ([`Position::is_later`]).
pub(super) fn store_position(transaction: &Transaction<'_>, position: &Position) -> Sql<()> {
    let store = format!(
        "INSERT INTO positions ({POSITION}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (stream) DO UPDATE
         SET created_at = excluded.created_at, reading = excluded.reading, missed_after = excluded.missed_after,
           sequence = excluded.sequence, stored_at = excluded.stored_at
         WHERE (excluded.reading, excluded.created_at, excluded.sequence) > (reading, created_at, sequence)"
    );
    transaction.execute(
        &store,
        params![
            position.stream as u8,
            nanoseconds(position.created_at),
            position.reading,
            of_sequence(position.missed_after),
            of_sequence(position.sequence),
            nanoseconds(position.stored_at)
        ],
    )?;
    Ok(())
}

/// The four columns that order rows: time, stream, sequence, part.
pub(super) fn of_place(place: &Place) -> [i64; 4] {
    [
        nanoseconds(place.stored_at),
        i64::from(place.pointer.stream as u8),
        of_sequence(place.pointer.sequence),
        i64::from(place.pointer.part),
    ]
}

/// A sequence as the files have it. JetStream reaches no sequence above 2⁶³.
pub(super) fn of_sequence(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

fn sequence(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

/// The first 64 bits of a key.
pub(super) fn prefix(key: &[u8; KEY_BYTES]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *key;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// The first 64 bits of a key as the files have them: the numbers have the order of the keys.
pub(super) fn of_key(key: &[u8; KEY_BYTES]) -> i64 {
    ordered(prefix(key))
}

/// A number without a sign as one with a sign, in the same order.
pub(super) fn ordered(number: u64) -> i64 {
    (number ^ (1 << 63)).cast_signed()
}

/// The number of [`ordered`].
pub(super) fn unordered(number: i64) -> u64 {
    number.cast_unsigned() ^ (1 << 63)
}

/// Every value that a query gives, without those that only a later version has.
pub(super) fn all<T>(
    connection: &Connection,
    query: &str,
    parameters: &[&dyn ToSql],
    read: fn(&SqlRow<'_>) -> Sql<Option<T>>,
) -> Sql<Vec<T>> {
    let mut statement = connection.prepare(query)?;
    let values = statement.query_map(parameters, read)?;
    values.filter_map(Result::transpose).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_their_order() {
        let keys = [[0u8; 16], [1; 16], [0x7f; 16], [0x80; 16], [0xff; 16]];
        assert!(keys.windows(2).all(|pair| of_key(&pair[0]) < of_key(&pair[1])));
        assert_eq!(unordered(of_key(&keys[3])), 0x8080_8080_8080_8080);
    }
}
