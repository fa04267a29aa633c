//! What makes form 2 of form 1, the form of the first version. Each file is changed in one transaction, so that a crash leaves it in one
//! of the two forms. Rows stay as they are: [`crate::row::stored`] reads those that do not say what their body is.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Transaction, params};

use crate::row::{IdKind, LookupKey, Row, StreamNumber};
use crate::rules::RuleName;
use crate::store::sqlite::columns;
use crate::store::sqlite::day::{Day, of_nanoseconds};
use crate::store::sqlite::fault::{self, Sql};

/// Most expectations in memory.
const PAGE: usize = 1000;

/// Changes the file of a day.
pub(super) const DAY: &str = "
ALTER TABLE positions ADD COLUMN reading INTEGER NOT NULL DEFAULT 0;
ALTER TABLE positions ADD COLUMN missed_after INTEGER NOT NULL DEFAULT 0;
";

/// Changes the file of what is expected. Its rows do not name the file that a client is to fetch: what is expected of it is met as
/// before, by the event that names the command.
pub(super) const OPEN: &str = "
ALTER TABLE positions ADD COLUMN reading INTEGER NOT NULL DEFAULT 0;
ALTER TABLE positions ADD COLUMN missed_after INTEGER NOT NULL DEFAULT 0;
ALTER TABLE expectations ADD COLUMN file BLOB;
DROP INDEX expectations_by_due;
CREATE INDEX expectations_by_file ON expectations (file, rule) WHERE file IS NOT NULL;
CREATE TABLE met_files (
  file BLOB NOT NULL, rule INTEGER NOT NULL, channel TEXT NOT NULL, since INTEGER NOT NULL,
  PRIMARY KEY (file, rule, channel)
) STRICT, WITHOUT ROWID;
";

/// A command without a result.
struct Waiting {
    key: LookupKey,
    channel: String,
    /// When it was stored, in nanoseconds since 1970.
    since: i64,
}

/// Gives the waiting commands of campaigns the rule of their queue: form 1 had one rule for both queues, and its rows say which is theirs.
/// A command whose row cannot be read keeps the rule. `folder` has the files of the days.
pub(super) fn name_queues(open: &Transaction<'_>, folder: &Path) -> Sql<()> {
    let mut days = Days { folder, open: HashMap::new() };
    let mut rename = open.prepare(
        "UPDATE OR IGNORE expectations SET rule = ?1 WHERE rule = ?2 AND key = ?3 AND channel = ?4",
    )?;
    let (of_one, of_bulk) = (RuleName::NoResult as u8, RuleName::NoBulkResult as u8);
    let mut after = None;
    loop {
        let page = page(open, after.as_ref())?;
        for waiting in &page {
            if days.is_bulk(waiting)? {
                rename.execute(params![of_bulk, of_one, waiting.key.0, waiting.channel])?;
            }
        }
        let is_last = page.len() < PAGE;
        after = page.into_iter().last();
        if is_last {
            return Ok(());
        }
    }
}

/// The commands without a result that follow after one, in the order of their keys.
fn page(open: &Transaction<'_>, after: Option<&Waiting>) -> Sql<Vec<Waiting>> {
    let mut statement = open.prepare(
        "SELECT key, channel, since FROM expectations WHERE rule = ?1 AND (key, channel) > (?2, ?3) ORDER BY key, channel LIMIT ?4",
    )?;
    let key = after.map(|after| after.key.0.to_vec()).unwrap_or_default();
    let channel = after.map(|after| after.channel.as_str()).unwrap_or_default();
    let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
    let found = statement.query_map(params![RuleName::NoResult as u8, key, channel, limit], |row| {
        Ok(Waiting { key: LookupKey(row.get(0)?), channel: row.get(1)?, since: row.get(2)? })
    })?;
    found.collect()
}

/// The files of the days, which have form 1 too or are up to date: what is read of them is the same in both.
struct Days<'a> {
    folder: &'a Path,
    /// `None` for a day that is missing or damaged.
    open: HashMap<Day, Option<Connection>>,
}

impl Days<'_> {
    /// Whether the row of a command says that it is of a campaign.
    fn is_bulk(&mut self, waiting: &Waiting) -> Sql<bool> {
        let day = Day::of(of_nanoseconds(waiting.since));
        match self.commands_at(day, waiting.since) {
            Ok(rows) => Ok(rows.iter().any(|row| {
                let is_it = row.key(IdKind::Command) == Some(waiting.key) && row.channel == waiting.channel;
                is_it && row.is_bulk
            })),
            // The start of the store says so, and what to do.
            Err(error) if fault::is_damage(&error) => {
                self.open.insert(day, None);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// The rows of commands that were stored at a time.
    fn commands_at(&mut self, day: Day, stored_at: i64) -> Sql<Vec<Row>> {
        let Some(file) = self.file(day)? else { return Ok(Vec::new()) };
        let query = format!(
            "{} JOIN beginnings b ON b.number = r.number WHERE b.stored_at = ?1 AND b.stream = ?2",
            columns::ROW
        );
        columns::all(file, &query, &[&stored_at, &(StreamNumber::Commands as u8)], columns::row)
    }

    fn file(&mut self, day: Day) -> Sql<Option<&Connection>> {
        if !self.open.contains_key(&day) {
            let path = self.folder.join(day.file());
            let file = if path.exists() { Some(reader(&path)?) } else { None };
            self.open.insert(day, file);
        }
        Ok(self.open.get(&day).and_then(Option::as_ref))
    }
}

/// Opens a day. Not "read only": the first connection to a file after a crash repairs it from its WAL.
fn reader(path: &Path) -> Sql<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}
