//! Removes the rows of a customer from the files of their days.
//!
//! What is expected after a row is removed before the row: after a crash in between, the row is still found, and the erasure does
//! both again. SQLite overwrites removed rows with zeros (`secure_delete`), and their pages in the WAL are copied into the file and
//! cut off. The filter of a day, which has hashes of its keys, is removed with the first write and written again without them.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::row::Row;
use crate::store::error::StoreError;
use crate::store::sqlite::columns;
use crate::store::sqlite::day::Day;
use crate::store::sqlite::day_file::DayFile;
use crate::store::sqlite::fault::Sql;
use crate::store::sqlite::open::cut_wal;
use crate::store::sqlite::schema::SEGMENT_ROWS;
use crate::store::sqlite::writer::Writer;
use crate::store::{ErasedRows, Place};

/// What is said while a look-up kept the WAL of a file.
const WAL_IN_USE: &str = "the WAL of SQLite, which a look-up read at that moment; it is cut by the next erasure, or when it is full";
/// What is said while a damaged file is beside the store.
const DAMAGED_FILES: &str = "files of the store that are damaged and were moved aside; delete them, or they are removed with their day";

/// A row in the file of a day.
#[derive(Debug)]
struct Numbered {
    number: i64,
    /// `None` if it is of a kind that only a later version has.
    row: Option<Row>,
}

impl Writer {
    /// Removes the rows at these places.
    pub(super) fn erase(&mut self, places: Vec<Place>) -> Result<ErasedRows, StoreError> {
        let mut by_day: BTreeMap<Day, Vec<Place>> = BTreeMap::new();
        for place in places {
            by_day.entry(Day::of(place.stored_at)).or_default().push(place);
        }
        let mut erased = ErasedRows::default();
        let mut are_wals_cut = true;
        let stored: Vec<Day> = self.files.catalog.all().into_iter().map(|known| known.day).collect();
        for (day, places) in by_day {
            // A day that was removed has no rows, and is not made again.
            if !stored.contains(&day) {
                continue;
            }
            self.files.catalog.begin_write(&self.files.folder, day)?;
            let removed = self.erase_from(day, &places, &mut erased);
            self.files.catalog.end_write(day);
            are_wals_cut &= removed?;
        }
        if !(are_wals_cut && self.open.cut_wal()?) {
            erased.remains.push(WAL_IN_USE);
        }
        if !self.files.folder.aside()?.is_empty() {
            erased.remains.push(DAMAGED_FILES);
        }
        Ok(erased)
    }

    /// Removes rows of one day. Returns whether the file's WAL is empty then.
    fn erase_from(
        &mut self,
        day: Day,
        places: &[Place],
        erased: &mut ErasedRows,
    ) -> Result<bool, StoreError> {
        self.open_day(day)?;
        let found = self.with_day(day, |file| at_places(file.connection(), places))?;
        let rows: Vec<Row> = found.iter().filter_map(|found| found.row.clone()).collect();
        erased.expectations += self.open.erase(&rows)?;
        erased.rows += found.len();
        self.with_day(day, |file| remove(file, &found))
    }
}

fn at_places(day: &Connection, places: &[Place]) -> Sql<Vec<Numbered>> {
    let mut number_at = day.prepare(
        "SELECT number FROM rows WHERE stored_at = ?1 AND stream = ?2 AND sequence = ?3 AND part = ?4",
    )?;
    let mut row_of = day.prepare(&format!("{} WHERE r.number = ?1", columns::ROW))?;
    let mut found = Vec::new();
    for place in places {
        let Some(number) = number_at.query_row(columns::of_place(place), |row| row.get(0)).optional()? else {
            continue;
        };
        let row = row_of.query_row([number], columns::row).optional()?.flatten();
        found.push(Numbered { number, row });
    }
    Ok(found)
}

fn remove(file: &mut DayFile, rows: &[Numbered]) -> Sql<bool> {
    let day = file.connection();
    let transaction = day.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for row in rows {
        remove_row(&transaction, row)?;
    }
    transaction.commit()?;
    cut_wal(day)
}

fn remove_row(day: &Transaction<'_>, Numbered { number, row }: &Numbered) -> Sql<()> {
    let segment = number / SEGMENT_ROWS;
    if let Some(row) = row {
        for link in &row.links {
            let key = columns::of_key(&link.key.0);
            day.execute(
                "DELETE FROM ids WHERE segment = ?1 AND key = ?2 AND number = ?3",
                params![segment, key, number],
            )?;
        }
        let [stored_at, stream, sequence, part] = columns::of_place(&Place::of(row));
        if let Some(recipient) = &row.recipient {
            let key = columns::of_key(&recipient.key.0);
            day.execute(
                "DELETE FROM recipients WHERE segment = ?1 AND key = ?2 AND stored_at = ?3 AND stream = ?4
                 AND sequence = ?5 AND part = ?6",
                params![segment, key, stored_at, stream, sequence, part],
            )?;
        }
        day.execute(
            "DELETE FROM beginnings WHERE stored_at = ?1 AND stream = ?2 AND sequence = ?3 AND part = ?4",
            params![stored_at, stream, sequence, part],
        )?;
    }
    day.execute("DELETE FROM rows WHERE number = ?1", [number])?;
    Ok(())
}
