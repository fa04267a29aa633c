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

use rusqlite::{Connection, Row as SqlRow, Transaction, TransactionBehavior, params};

use crate::row::{LookupKey, StreamNumber};
use crate::rules::{Expectation, RuleName};
use crate::store::error::StoreError;
use crate::store::sqlite::columns::{self, STORE_POSITION};
use crate::store::sqlite::day::{nanoseconds, of_nanoseconds};
use crate::store::sqlite::fault::{self, Sql};
use crate::store::sqlite::schema::{self, Form, Refusal};
use crate::store::{NewRow, OverdueCount, OverdueQuery, Position};

/// The columns that [`expectation`] reads.
const COLUMNS: &str = "rule, key, channel, since, due";
/// Most expectations with the same time and key: there is one for each rule and channel.
const SAME_PLACE_MAX: usize = 64;

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
    ) -> Result<Vec<Expectation>, StoreError> {
        if rows.iter().all(|new| new.expected.is_empty() && new.settled.is_empty()) {
            return Ok(Vec::new());
        }
        self.write(|transaction| apply(transaction, rows, met))
    }

    /// Keeps the positions of a day that is about to be removed.
    pub(super) fn keep_positions(&mut self, positions: &[Position]) -> Result<(), StoreError> {
        if positions.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            for position in positions {
                transaction.execute(STORE_POSITION, columns::of_position(position))?;
            }
            Ok(())
        })
    }

    /// The positions that were kept.
    pub(super) fn positions(&self) -> Result<Vec<Position>, StoreError> {
        let query = "SELECT stream, created_at, sequence, stored_at FROM positions";
        self.read(|connection| columns::all(connection, query, &[], columns::position))
    }

    /// Removes the expectations that began before a time. Returns how many.
    pub(super) fn expire(&mut self, before: i64) -> Result<usize, StoreError> {
        self.write(|transaction| transaction.execute("DELETE FROM expectations WHERE since < ?1", [before]))
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

fn apply(file: &Transaction<'_>, rows: &[NewRow], met: &HashSet<(RuleKey, String)>) -> Sql<Vec<Expectation>> {
    let mut open = file.prepare(
        "INSERT INTO expectations (rule, key, channel, since, due) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
    )?;
    // A row whose channel is not known meets what has its key in any channel.
    let mut remove = file.prepare(&format!(
        "DELETE FROM expectations WHERE rule = ?1 AND key = ?2 AND (?3 = '' OR channel IN ('', ?3)) RETURNING {COLUMNS}"
    ))?;
    let mut removed = Vec::new();
    // What earlier rows of these met: they are not stored yet.
    let mut met_here: HashMap<RuleKey, Vec<&str>> = HashMap::new();
    for new in rows {
        for expected in &new.expected {
            let rule_key = (expected.rule, expected.key);
            let is_met = met_here.get(&rule_key).is_some_and(|channels| {
                channels.iter().any(|channel| is_same_channel(channel, &expected.channel))
            });
            if is_met || met.contains(&(rule_key, expected.channel.clone())) {
                continue;
            }
            open.execute(params![
                expected.rule as u8,
                expected.key.0,
                expected.channel,
                nanoseconds(expected.since),
                nanoseconds(expected.due)
            ])?;
        }
        for settled in &new.settled {
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

/// Whether a row of one channel can meet what is expected in another. An empty one is not known.
pub(super) fn is_same_channel(one: &str, other: &str) -> bool {
    one == other || one.is_empty() || other.is_empty()
}

/// What is overdue, the longest overdue first. A group with the same time and key is not divided, because the listing goes
/// on after a time and key.
pub(super) fn overdue(connection: &Connection, query: &OverdueQuery) -> Sql<Vec<Expectation>> {
    let limit = query.limit.saturating_add(SAME_PLACE_MAX);
    let mut found = Vec::new();
    for (rule, until) in &query.judged {
        found.extend(overdue_of(connection, query, (*rule, nanoseconds(*until)), limit)?);
    }
    found.sort_by(|one, other| one.order().cmp(&other.order()).then_with(|| one.channel.cmp(&other.channel)));
    if found.len() > query.limit {
        let next = found[query.limit].order();
        let whole = found[..query.limit].partition_point(|expectation| expectation.order() < next);
        let end =
            if whole > 0 { whole } else { found.partition_point(|expectation| expectation.order() <= next) };
        found.truncate(if query.limit == 0 { 0 } else { end });
    }
    Ok(found)
}

fn overdue_of(
    connection: &Connection,
    query: &OverdueQuery,
    (rule, until): (RuleName, i64),
    limit: usize,
) -> Sql<Vec<Expectation>> {
    let (due, key) = match query.after {
        Some((due, key)) => (nanoseconds(due), key.0.to_vec()),
        // Before every key.
        None => (i64::MIN, Vec::new()),
    };
    let channel = if query.channel.is_some() { "channel = ?6 AND" } else { "?6 IS NULL AND" };
    let text = format!(
        "SELECT {COLUMNS} FROM expectations WHERE {channel} rule = ?1 AND due <= ?2 AND (due, key) > (?3, ?4)
         ORDER BY due, key LIMIT ?5"
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare(&text)?;
    let found =
        statement.query_map(params![rule as u8, until, due, key, limit, query.channel], expectation)?;
    found.filter_map(Result::transpose).collect()
}

/// How much is overdue, by channel and rule.
pub(super) fn counts(connection: &Connection, rule: RuleName, until: i64) -> Sql<Vec<OverdueCount>> {
    let mut statement = connection.prepare(
        "SELECT channel, count(*) FROM expectations WHERE rule = ?1 AND due <= ?2 GROUP BY channel ORDER BY channel",
    )?;
    let counts = statement.query_map(params![rule as u8, until], |row| {
        Ok(OverdueCount { channel: row.get(0)?, rule, count: row.get::<_, i64>(1)?.cast_unsigned() })
    })?;
    counts.collect()
}

/// An expectation; `None` for one of a rule that only a later version has.
fn expectation(columns: &SqlRow<'_>) -> Sql<Option<Expectation>> {
    let Some(rule) = RuleName::of_stored(columns.get(0)?) else { return Ok(None) };
    Ok(Some(Expectation {
        rule,
        key: LookupKey(columns.get(1)?),
        channel: columns.get(2)?,
        since: of_nanoseconds(columns.get(3)?),
        due: of_nanoseconds(columns.get(4)?),
    }))
}

/// The latest of some positions of each stream.
pub(super) fn latest(positions: impl IntoIterator<Item = Position>) -> HashMap<StreamNumber, Position> {
    let mut latest: HashMap<StreamNumber, Position> = HashMap::new();
    for position in positions {
        let known = latest.entry(position.stream).or_insert(position);
        if (position.created_at, position.sequence) > (known.created_at, known.sequence) {
            *known = position;
        }
    }
    latest
}
