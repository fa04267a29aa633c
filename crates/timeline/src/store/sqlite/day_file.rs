//! The file of a day, as the writer has it.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::row::{Row, RowKind, stored};
use crate::store::sqlite::columns;
use crate::store::sqlite::day::nanoseconds;
use crate::store::sqlite::fault::Sql;
use crate::store::sqlite::filter::build::last_row;
use crate::store::sqlite::schema::{self, Form, Refusal, SEGMENT_ROWS};
use crate::store::{Gap, NewRow, Place, Position};
use crate::yields::Yields;

/// The open file of a day.
#[derive(Debug)]
pub(super) struct DayFile {
    connection: Connection,
    /// Number of the next row.
    next: i64,
    /// Numbers of the channels.
    channels: HashMap<String, i64>,
}

/// What is stored in one transaction.
#[derive(Debug)]
pub(super) struct Write<'a> {
    /// Rows of the day.
    pub(super) rows: &'a [NewRow],
    /// How far their stream is read with them.
    pub(super) position: &'a Position,
    /// Messages that were missed.
    pub(super) gaps: &'a [Gap],
    /// Between the steps of its rows.
    pub(super) yields: Yields,
}

/// What was stored.
#[derive(Debug)]
pub(super) struct Stored {
    /// Rows that were not stored before.
    pub(super) rows: usize,
}

/// What is stored in tables that have the order of keys.
#[derive(Debug, Default)]
struct Indexed {
    /// Segment, key and number.
    ids: Vec<[i64; 3]>,
    /// Segment, key, the four columns of the place, and number.
    recipients: Vec<[i64; 7]>,
}

impl DayFile {
    /// Opens the file of a day, and makes it if it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, Refusal> {
        let connection = schema::writer(path, Form::Day)?;
        let read = || -> Sql<(i64, HashMap<String, i64>)> {
            let mut statement = connection.prepare("SELECT id, number FROM channels")?;
            let channels =
                statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Sql<_>>()?;
            Ok((last_row(&connection)? + 1, channels))
        };
        let (next, channels) = read().map_err(|error| schema::refusal(error, path))?;
        Ok(Self { connection, next, channels })
    }

    /// Frees the memory of its pages, while another day is written.
    pub(super) fn release_memory(&self) {
        // If it fails, the pages stay in memory until the file is closed.
        let _ = self.connection.execute_batch("PRAGMA shrink_memory");
    }

    /// The connection to the file, for what only [`super::erase`] does.
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Whether each of these rows is stored.
    pub(super) fn are_stored(&self, rows: &[NewRow]) -> Sql<Vec<bool>> {
        let mut find = self.connection.prepare(
            "SELECT 1 FROM rows WHERE stored_at = ?1 AND stream = ?2 AND sequence = ?3 AND part = ?4",
        )?;
        rows.iter().map(|new| find.exists(columns::of_place(&Place::of(&new.row)))).collect()
    }

    /// Stores rows that belong to the day, the position after them, and what was missed.
    ///
    /// # Errors
    /// Nothing is stored. The file is to be opened again.
    pub(super) fn write(&mut self, write: &Write<'_>) -> Sql<Stored> {
        schema::add_yields(&mut self.connection, write.yields)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let first = self.next;
        let mut next = first;
        let mut indexed = Indexed::default();
        write_rows(&transaction, &mut next, &mut self.channels, write.rows, &mut indexed)?;
        write_indexed(&transaction, indexed)?;
        columns::store_position(&transaction, write.position)?;
        for gap in write.gaps {
            write_gap(&transaction, gap)?;
        }
        transaction.commit()?;
        self.next = next;
        Ok(Stored { rows: usize::try_from(next - first).expect("at most the rows of a batch") })
    }
}

fn write_rows(
    day: &Transaction<'_>,
    next: &mut i64,
    channels: &mut HashMap<String, i64>,
    rows: &[NewRow],
    indexed: &mut Indexed,
) -> Sql<()> {
    let mut row_of = day.prepare(
        "INSERT INTO rows (stored_at, stream, sequence, part, number, kind, channel, blob)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (stream, sequence, stored_at, part) DO NOTHING",
    )?;
    let mut beginning = day.prepare(
        "INSERT INTO beginnings (stored_at, stream, sequence, part, number, channel) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for NewRow { row, .. } in rows {
        let number = *next;
        let channel = channel_number(day, channels, &row.channel)?;
        let place @ [stored_at, stream, sequence, part] = columns::of_place(&Place::of(row));
        let parameters =
            params![stored_at, stream, sequence, part, number, row.kind as u8, channel, stored::encode(row)];
        if row_of.execute(parameters)? == 0 {
            continue;
        }
        *next += 1;
        if matches!(row.kind, RowKind::Command | RowKind::Message) {
            beginning.execute(params![stored_at, stream, sequence, part, number, channel])?;
        }
        indexed.add(row, place, number);
    }
    Ok(())
}

fn channel_number(day: &Transaction<'_>, channels: &mut HashMap<String, i64>, id: &str) -> Sql<i64> {
    if let Some(number) = channels.get(id) {
        return Ok(*number);
    }
    day.execute("INSERT INTO channels (id) VALUES (?1) ON CONFLICT DO NOTHING", [id])?;
    let number = day.query_row("SELECT number FROM channels WHERE id = ?1", [id], |row| row.get(0))?;
    channels.insert(id.to_owned(), number);
    Ok(number)
}

impl Indexed {
    fn add(&mut self, row: &Row, [stored_at, stream, sequence, part]: [i64; 4], number: i64) {
        let segment = number / SEGMENT_ROWS;
        self.ids.extend(row.links.iter().map(|link| [segment, columns::of_key(&link.key.0), number]));
        if let Some(recipient) = &row.recipient {
            let key = columns::of_key(&recipient.key.0);
            self.recipients.push([segment, key, stored_at, stream, sequence, part, number]);
        }
    }
}

/// Stores keys in their order, so that neighbors in the file are changed one after the other.
fn write_indexed(day: &Transaction<'_>, indexed: Indexed) -> Sql<()> {
    let Indexed { mut ids, mut recipients } = indexed;
    ids.sort_unstable();
    // Two ids of a row may be the same.
    ids.dedup();
    recipients.sort_unstable();
    let mut id = day.prepare("INSERT INTO ids (segment, key, number) VALUES (?1, ?2, ?3)")?;
    for parameters in ids {
        id.execute(parameters)?;
    }
    let mut recipient = day.prepare(
        "INSERT INTO recipients (segment, key, stored_at, stream, sequence, part, number)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    for parameters in recipients {
        recipient.execute(parameters)?;
    }
    Ok(())
}

fn write_gap(day: &Transaction<'_>, gap: &Gap) -> Sql<()> {
    day.execute(
        "INSERT INTO gaps (stream, first, last, after, before) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET last = excluded.last, after = excluded.after",
        params![
            gap.stream as u8,
            columns::of_sequence(gap.first),
            columns::of_sequence(gap.last),
            gap.after.map(nanoseconds),
            nanoseconds(gap.before)
        ],
    )?;
    Ok(())
}
