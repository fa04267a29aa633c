//! Counts of replays, in the file of the audit log.
//!
//! SQLite commits to one file at a time. This one is changed before the day's file, and its transaction is on the disk when it ends: a
//! crash or power failure between the two leaves counts without their rows. The rows are read again, because their position was not
//! stored, and the table `replayed` says which of their messages are counted.

use rusqlite::{Transaction, params};

use crate::store::NewRow;
use crate::store::audit::ReplayCounts;
use crate::store::error::StoreError;
use crate::store::replays::{RUNS_PER_HOUR_MAX, Run, runs};
use crate::store::sqlite::audit::{self, AuditFile};
use crate::store::sqlite::columns::of_sequence;
use crate::store::sqlite::day::nanoseconds;
use crate::store::sqlite::fault::Sql;

/// Counts the rows whose messages were published again, each once: before the file of their day has them.
pub(super) fn count(log: &AuditFile, rows: &[NewRow]) -> Result<(), StoreError> {
    if rows.iter().all(|new| new.replayed.is_none()) {
        return Ok(());
    }
    log.write(|transaction| count_new(transaction, rows))
}

/// Counts those that are not counted yet.
fn count_new(transaction: &Transaction<'_>, rows: &[NewRow]) -> Sql<()> {
    let mut note = transaction.prepare(
        "INSERT INTO replayed (stream, sequence, stored_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?;
    let mut new = Vec::new();
    for row in rows.iter().filter(|new| new.replayed.is_some()) {
        let pointer = row.row.pointer;
        let place =
            params![pointer.stream as u8, of_sequence(pointer.sequence), nanoseconds(row.row.stored_at)];
        if note.execute(place)? > 0 {
            new.push(row);
        }
    }
    runs(new).into_iter().try_for_each(|run| add(transaction, run))
}

/// Adds a run to its entry, which it gets if it has none.
fn add(transaction: &Transaction<'_>, run: Run) -> Sql<()> {
    if grow(transaction, &run)? {
        return Ok(());
    }
    let hour = run.hour();
    let begun: i64 = transaction.query_row(
        "SELECT count(*) FROM replays WHERE at >= ?1 AND at < ?2",
        [nanoseconds(hour.since), nanoseconds(hour.until)],
        |row| row.get(0),
    )?;
    let run = if begun.cast_unsigned() < RUNS_PER_HOUR_MAX { run } else { run.among_further() };
    if grow(transaction, &run)? {
        return Ok(());
    }
    let entry = audit::add(transaction, &run.entry)?;
    let ReplayCounts { events, commands, last_at } = run.counts;
    transaction.execute(
        "INSERT INTO replays (entry, key, at, events, commands, last_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            entry,
            run.key,
            nanoseconds(run.entry.at),
            events.cast_signed(),
            commands.cast_signed(),
            nanoseconds(last_at)
        ],
    )?;
    Ok(())
}

/// Adds a run to its entry. Returns whether it has one.
fn grow(transaction: &Transaction<'_>, run: &Run) -> Sql<bool> {
    let ReplayCounts { events, commands, last_at } = run.counts;
    let grown = transaction.execute(
        "UPDATE replays SET events = events + ?2, commands = commands + ?3, last_at = max(last_at, ?4) WHERE key = ?1",
        params![run.key, events.cast_signed(), commands.cast_signed(), nanoseconds(last_at)],
    )?;
    Ok(grown > 0)
}

/// Drops which messages that were stored before a time are counted: their rows are removed too, and they are not read again.
pub(super) fn expire(log: &AuditFile, before: i64) -> Result<(), StoreError> {
    log.write(|transaction| {
        transaction.execute("DELETE FROM replayed WHERE stored_at < ?1", [before]).map(drop)
    })
}
