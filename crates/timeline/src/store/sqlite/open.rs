//! The file of what is expected, and of the positions whose day was removed.
//!
//! What is expected spans days, so it is in a file of its own, `open.sqlite`, and SQLite commits to one file at a time. It
//! is changed before the day's file, and its transaction is on the disk when it ends, so that a crash or power failure
//! between the two leaves changes without their rows. The rows are read again, because their position was not stored:
//! - An expectation that is there already is not opened twice (its key is unique).
//! - One that was opened and met before the crash may be opened again by its row, and the row that meets it comes again
//!   after it. If that row was stored, it is found, and nothing is opened.
//! - One that a row met is gone, and stays gone. The metric of agents' view may lack it or have it twice; no list does.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::row::{LookupKey, Row, StreamNumber};
use crate::rules::{Expectation, Rule, RuleName, Settled};
use crate::store::error::StoreError;
use crate::store::sqlite::columns;
use crate::store::sqlite::day::nanoseconds;
use crate::store::sqlite::fault::{self, Sql};
use crate::store::sqlite::overdue::{COLUMNS, expectation};
use crate::store::sqlite::schema::{self, Form, Refusal};
use crate::store::{NewRow, Position};
use crate::yields::Yields;

/// What identifies an expectation, besides its channel.
pub(super) type RuleKey = (RuleName, LookupKey);

/// The file of what is expected.
#[derive(Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    connection: Connection,
}

impl OpenFile {
    /// Opens the file, and makes it if it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, Refusal> {
        Ok(Self { path: path.to_owned(), connection: schema::writer(path, Form::Open)? })
    }

    /// Opens and removes what follows from rows, in their order, except for what `met` says a stored row has met. Returns
    /// what was removed.
    pub(super) fn apply(
        &mut self,
        rows: &[NewRow],
        met: &HashSet<(RuleKey, String)>,
        yields: Yields,
    ) -> Result<Vec<Expectation>, StoreError> {
        if rows.iter().all(|new| new.expected.is_empty() && new.settled.is_empty()) {
            return Ok(Vec::new());
        }
        let yielding = schema::add_yields(&mut self.connection, yields);
        yielding.map_err(|error| fault::of_sqlite(error, &self.path))?;
        self.write(|transaction| apply(transaction, rows, met))
    }

    /// Keeps the positions of a day that is about to be removed.
    pub(super) fn keep_positions(&mut self, positions: &[Position]) -> Result<(), StoreError> {
        if positions.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            for position in positions {
                columns::store_position(transaction, position)?;
            }
            Ok(())
        })
    }

    /// The positions that were kept.
    pub(super) fn positions(&self) -> Result<Vec<Position>, StoreError> {
        self.read(columns::positions)
    }

    /// Removes the expectations that began before a time, and what came of files before it. Returns how many expectations.
    pub(super) fn expire(&mut self, before: i64) -> Result<usize, StoreError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM met_files WHERE since < ?1", [before])?;
            transaction.execute("DELETE FROM expectations WHERE since < ?1", [before])
        })
    }

    /// Removes what is expected after erased rows: by the keys and channel of each. Returns how many.
    pub(super) fn erase(&mut self, rows: &[Row]) -> Result<usize, StoreError> {
        self.write(|transaction| {
            let mut remove = transaction
                .prepare("DELETE FROM expectations WHERE key = ?1 AND (channel = '' OR channel = ?2)")?;
            let mut removed = 0;
            for row in rows {
                for link in &row.links {
                    removed += remove.execute(params![link.key.0, row.channel])?;
                }
            }
            Ok(removed)
        })
    }

    /// Copies the WAL into the file and cuts it. Returns whether it is empty then.
    pub(super) fn cut_wal(&self) -> Result<bool, StoreError> {
        self.read(cut_wal)
    }

    fn write<T>(&mut self, write: impl FnOnce(&Transaction<'_>) -> Sql<T>) -> Result<T, StoreError> {
        let path = &self.path;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let written = transaction.and_then(|transaction| {
            let answer = write(&transaction)?;
            transaction.commit()?;
            Ok(answer)
        });
        written.map_err(|error| fault::of_sqlite(error, path))
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Sql<T>) -> Result<T, StoreError> {
        read(&self.connection).map_err(|error| fault::of_sqlite(error, &self.path))
    }
}

/// Copies the WAL of a file into it and cuts it. Returns whether it is empty then: a look-up that reads at that moment keeps it.
pub(super) fn cut_wal(connection: &Connection) -> Sql<bool> {
    let is_busy: i64 = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    Ok(is_busy == 0)
}

fn apply(open: &Transaction<'_>, rows: &[NewRow], met: &HashSet<(RuleKey, String)>) -> Sql<Vec<Expectation>> {
    settle_files(open, rows)?;
    let mut insert = open.prepare(
        "INSERT INTO expectations (rule, key, channel, since, due, file) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
    )?;
    let mut met_file = open.prepare(
        "SELECT 1 FROM met_files WHERE file = ?1 AND rule = ?2 AND (?3 = '' OR channel IN ('', ?3))",
    )?;
    // A row whose channel is not known meets what has its key in any channel.
    let mut remove = open.prepare(&format!(
        "DELETE FROM expectations WHERE rule = ?1 AND key = ?2 AND (?3 = '' OR channel IN ('', ?3)) RETURNING {COLUMNS}"
    ))?;
    let mut removed = Vec::new();
    // What earlier rows of these met: they are not stored yet.
    let mut met_here: HashMap<RuleKey, Vec<&str>> = HashMap::new();
    for new in rows {
        for expected in &new.expected {
            let Expectation { rule, key, channel, since, due, file } = expected;
            let channels = met_here.get(&(*rule, *key)).into_iter().flatten();
            let is_met_here = channels.into_iter().any(|met| is_same_channel(met, channel));
            if is_met_here || met.contains(&((*rule, *key), channel.clone())) {
                continue;
            }
            if let Some(file) = file
                && met_file.exists(params![file.0, *rule as u8, channel])?
            {
                continue;
            }
            let (since, due, file) = (nanoseconds(*since), nanoseconds(*due), file.map(|file| file.0));
            insert.execute(params![*rule as u8, key.0, channel, since, due, file])?;
        }
        for settled in new.settled.iter().filter(|settled| settled.of == Settled::Id) {
            let found =
                remove.query_map(params![settled.rule as u8, settled.key.0, new.row.channel], expectation)?;
            for expectation in found {
                removed.extend(expectation?);
            }
            met_here.entry((settled.rule, settled.key)).or_default().push(&new.row.channel);
        }
    }
    Ok(removed)
}

/// Ends what is expected of files, and keeps that it came: of messages that name them later nothing is expected. So the order of
/// rows does not matter here.
fn settle_files(open: &Transaction<'_>, rows: &[NewRow]) -> Sql<()> {
    let settled = rows.iter().flat_map(|new| new.settled.iter().map(move |settled| (new, settled)));
    let mut of_files = settled.filter(|(_, settled)| settled.of == Settled::File).peekable();
    if of_files.peek().is_none() {
        return Ok(());
    }
    let mut keep = open.prepare(
        "INSERT INTO met_files (file, rule, channel, since) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET since = min(since, excluded.since)",
    )?;
    let mut remove = open.prepare(
        "DELETE FROM expectations WHERE file = ?1 AND rule = ?2 AND (?3 = '' OR channel IN ('', ?3))",
    )?;
    // Form 1 did not name the file: there the row's own id says what it meets.
    let mut remove_of_form_1 = open.prepare(
        "DELETE FROM expectations
         WHERE rule = ?1 AND key = ?2 AND file IS NULL AND (?3 = '' OR channel IN ('', ?3))",
    )?;
    for (new, settled) in of_files {
        let (file, rule, channel) = (settled.key.0, settled.rule as u8, &new.row.channel);
        keep.execute(params![file, rule, channel, nanoseconds(new.row.stored_at)])?;
        remove.execute(params![file, rule, channel])?;
        if let Some(key) = new.row.key(Rule::of(settled.rule).key) {
            remove_of_form_1.execute(params![rule, key.0, channel])?;
        }
    }
    Ok(())
}

/// Whether a row of one channel can meet what is expected in another. An empty one is not known.
pub(super) fn is_same_channel(one: &str, other: &str) -> bool {
    one == other || one.is_empty() || other.is_empty()
}

/// The latest of some positions of each stream.
pub(super) fn latest(positions: impl IntoIterator<Item = Position>) -> HashMap<StreamNumber, Position> {
    let mut latest: HashMap<StreamNumber, Position> = HashMap::new();
    for position in positions {
        let known = latest.entry(position.stream).or_insert(position);
        if position.is_later(known) {
            *known = position;
        }
    }
    latest
}
