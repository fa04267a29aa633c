//! Look-ups by id in the file of a day.

use rusqlite::{Connection, OptionalExtension, Statement};

use crate::row::{LookupKey, Row};
use crate::store::Place;
use crate::store::sqlite::columns;
use crate::store::sqlite::fault::Sql;
use crate::store::sqlite::filter::build::last_row;
use crate::store::sqlite::schema::SEGMENT_ROWS;

/// Rows of one key and segment up to which the oldest are found. Of more, those that were stored here first are.
const SORTED_MAX: usize = 16_384;

/// What of rows is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Everything.
    Whole,
    /// Everything but the body, which may be long.
    Brief,
}

impl Content {
    /// The row with this content.
    pub(super) fn of(self, mut row: Row) -> Row {
        if self == Self::Brief {
            row.body = String::new();
        }
        row
    }
}

/// Finds rows by id.
pub(super) struct Finder<'a> {
    last_segment: i64,
    numbers: Statement<'a>,
    place: Statement<'a>,
    row: Statement<'a>,
}

impl<'a> Finder<'a> {
    /// Finds rows in the file of a day.
    pub(super) fn new(day: &'a Connection) -> Sql<Self> {
        Ok(Self {
            last_segment: last_row(day)? / SEGMENT_ROWS,
            numbers: day
                .prepare("SELECT number FROM ids WHERE segment = ?1 AND key = ?2 ORDER BY number LIMIT ?3")?,
            place: day.prepare("SELECT stream, sequence, stored_at, part FROM rows WHERE number = ?1")?,
            row: day.prepare(&format!("{} WHERE r.number = ?1", columns::ROW))?,
        })
    }

    /// The places and numbers of the rows that have any of the keys, oldest first, each once.
    pub(super) fn places(&mut self, keys: &[LookupKey], limit: usize) -> Sql<Vec<(Place, i64)>> {
        let mut numbers = Vec::new();
        for key in keys {
            numbers.extend(self.numbers(*key, limit.max(SORTED_MAX))?);
        }
        numbers.sort_unstable();
        numbers.dedup();
        let mut places = Vec::with_capacity(numbers.len());
        for number in numbers {
            let place = self.place.query_row([number], columns::place).optional()?.flatten();
            places.extend(place.map(|place| (place, number)));
        }
        places.sort_unstable();
        Ok(places)
    }

    /// A row; `None` if it is of a kind that only a later version has.
    pub(super) fn row(&mut self, number: i64) -> Sql<Option<Row>> {
        Ok(self.row.query_row([number], columns::row).optional()?.flatten())
    }

    /// Whether a row with that key is one that is searched for.
    pub(super) fn has(&mut self, key: LookupKey, is_searched: impl Fn(&Row) -> bool) -> Sql<bool> {
        for number in self.numbers(key, SORTED_MAX)? {
            let row = self.row(number)?;
            if row.is_some_and(|row| has_key(&row, &[key]) && is_searched(&row)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn numbers(&mut self, key: LookupKey, limit: usize) -> Sql<Vec<i64>> {
        let mut numbers: Vec<i64> = Vec::new();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        for segment in 0..=self.last_segment {
            let found =
                self.numbers.query_map([segment, columns::of_key(&key.0), limit], |row| row.get(0))?;
            for number in found {
                numbers.push(number?);
            }
        }
        Ok(numbers)
    }
}

/// Whether a row has any of the keys: the tables have the first half of a key only.
pub(super) fn has_key(row: &Row, keys: &[LookupKey]) -> bool {
    row.links.iter().any(|link| keys.contains(&link.key))
}

/// The first rows of a day that have any of the keys, at most that many.
pub(super) fn find(day: &Connection, keys: &[LookupKey], limit: usize, content: Content) -> Sql<Vec<Row>> {
    let mut finder = Finder::new(day)?;
    let mut rows = Vec::new();
    for (_, number) in finder.places(keys, limit)? {
        if rows.len() == limit {
            break;
        }
        let row = finder.row(number)?.filter(|row| has_key(row, keys));
        rows.extend(row.map(|row| content.of(row)));
    }
    Ok(rows)
}
