//! Connections that read, kept for the next look-up. A look-up has one file open at a time, so that as many are open as
//! look-ups run, and at most [`IDLE_MAX`] that wait for the next one.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use crate::store::sqlite::day::Day;
use crate::store::sqlite::fault::Sql;
use crate::store::sqlite::schema;

/// Most connections that wait for the next look-up.
const IDLE_MAX: usize = 8;

/// Connections that read.
#[derive(Debug, Default)]
pub(super) struct Readers {
    /// The last one was used last.
    idle: Mutex<Vec<(Day, Connection)>>,
    files: AtomicU64,
}

impl Readers {
    /// Reads the file of a day.
    pub(super) fn read<T>(&self, day: Day, path: &Path, read: impl FnOnce(&Connection) -> Sql<T>) -> Sql<T> {
        self.files.fetch_add(1, Ordering::Relaxed);
        let connection = match self.idle_of(day) {
            Some(connection) => connection,
            None => schema::reader(path)?,
        };
        let answer = read(&connection)?;
        // A file that was removed during the look-up would take room for as long as it is open.
        if path.exists() {
            self.keep(day, connection);
        }
        Ok(answer)
    }

    /// How often a file was read.
    pub(super) fn files(&self) -> u64 {
        self.files.load(Ordering::Relaxed)
    }

    /// Closes the connections to a day that wait.
    pub(super) fn close(&self, day: Day) {
        self.idle().retain(|(of, _)| *of != day);
    }

    fn idle_of(&self, day: Day) -> Option<Connection> {
        let mut idle = self.idle();
        let at = idle.iter().rposition(|(of, _)| *of == day)?;
        Some(idle.remove(at).1)
    }

    fn keep(&self, day: Day, connection: Connection) {
        let oldest = {
            let mut idle = self.idle();
            idle.push((day, connection));
            (idle.len() > IDLE_MAX).then(|| idle.remove(0))
        };
        // Closing one may write its WAL back: others do not wait for it.
        drop(oldest);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Day, Connection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
