//! The file of the audit log, `audit.sqlite`. The retention of days does not apply to it. An entry is on the disk when its call
//! returns. The file itself refuses that an entry is changed, or removed before its time.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Row as SqlRow, Transaction, TransactionBehavior, params};

use crate::store::audit::{AuditAction, AuditEntry, AuditQuery, Audited, ReplayCounts};
use crate::store::error::StoreError;
use crate::store::sqlite::day::{nanoseconds, of_nanoseconds};
use crate::store::sqlite::fault::{self, Sql};
use crate::store::sqlite::schema::{self, Form, Refusal};

/// The file of the audit log.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl AuditFile {
    /// Opens the file, and makes it if it is missing.
    pub(super) fn open(path: &Path) -> Result<Self, Refusal> {
        let connection = Mutex::new(schema::writer(path, Form::Audit)?);
        Ok(Self { path: path.to_owned(), connection })
    }

    /// Adds an entry, and returns its number.
    pub(super) fn add(&self, entry: &AuditEntry) -> Result<u64, StoreError> {
        self.write(|transaction| add(transaction, entry)).map(i64::cast_unsigned)
    }

    /// Entries from the newest to the oldest.
    pub(super) fn list(&self, query: AuditQuery) -> Result<Vec<Audited>, StoreError> {
        let connection = self.connection();
        let before = query.before.and_then(|number| i64::try_from(number).ok()).unwrap_or(i64::MAX);
        let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
        let action = query.action.map(AuditAction::name);
        let list = || -> Sql<Vec<Audited>> {
            let mut statement = connection.prepare(
                "SELECT number, e.at, user, role, address, action, target, reason, details, events, commands, last_at
                 FROM entries e LEFT JOIN replays ON entry = number
                 WHERE number < ?1 AND (?2 IS NULL OR action = ?2) ORDER BY number DESC LIMIT ?3",
            )?;
            statement.query_map(params![before, action, limit], audited)?.collect()
        };
        self.done(list())
    }

    /// Removes the entries before a time, and returns how many.
    pub(super) fn expire(&self, before: i64) -> Result<usize, StoreError> {
        self.write(|transaction| {
            transaction.execute("DELETE FROM replays WHERE at < ?1", [before])?;
            transaction.execute("DELETE FROM entries WHERE at < ?1", [before])
        })
    }

    /// Changes the file. It is on the disk when this returns.
    pub(super) fn write<T>(&self, change: impl FnOnce(&Transaction<'_>) -> Sql<T>) -> Result<T, StoreError> {
        let mut connection = self.connection();
        let write = || -> Sql<T> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let answer = change(&transaction)?;
            transaction.commit()?;
            Ok(answer)
        };
        self.done(write())
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic has rolled back its transaction.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn done<T>(&self, answer: Sql<T>) -> Result<T, StoreError> {
        answer.map_err(|error| fault::of_sqlite(error, &self.path))
    }
}

/// Adds an entry, and returns its number.
pub(super) fn add(transaction: &Transaction<'_>, entry: &AuditEntry) -> Sql<i64> {
    transaction.execute(
        "INSERT INTO entries (at, user, role, address, action, target, reason, details)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            nanoseconds(entry.at),
            entry.user,
            entry.role,
            entry.address,
            entry.action.name(),
            entry.target,
            entry.reason,
            entry.details
        ],
    )?;
    Ok(transaction.last_insert_rowid())
}

fn audited(columns: &SqlRow<'_>) -> Sql<Audited> {
    let action: String = columns.get(5)?;
    Ok(Audited {
        number: columns.get::<_, i64>(0)?.cast_unsigned(),
        entry: AuditEntry {
            at: of_nanoseconds(columns.get(1)?),
            user: columns.get(2)?,
            role: columns.get(3)?,
            address: columns.get(4)?,
            action: AuditAction::of_name(&action),
            target: columns.get(6)?,
            reason: columns.get(7)?,
            details: columns.get(8)?,
        },
        replayed: counts(columns)?,
    })
}

/// The counts in the columns 9 to 11 of an entry; `None` if it is not of a replay.
fn counts(columns: &SqlRow<'_>) -> Sql<Option<ReplayCounts>> {
    let Some(events) = columns.get::<_, Option<i64>>(9)? else { return Ok(None) };
    let commands: i64 = columns.get(10)?;
    let last_at = of_nanoseconds(columns.get(11)?);
    Ok(Some(ReplayCounts { events: events.cast_unsigned(), commands: commands.cast_unsigned(), last_at }))
}
