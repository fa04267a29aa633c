//! The files of a store, as look-ups and the writer share them.

use std::time::Duration;

use rusqlite::Connection;
use tracing::error;

use crate::store::error::{StoreError, StoreFault};
use crate::store::sqlite::catalog::{Catalog, Ended, Known};
use crate::store::sqlite::day::Day;
use crate::store::sqlite::fault::{self, Sql};
use crate::store::sqlite::filter::build;
use crate::store::sqlite::folder::Folder;
use crate::store::sqlite::readers::Readers;

/// The files of a store.
#[derive(Debug)]
pub(super) struct Files {
    /// Where they are.
    pub(super) folder: Folder,
    /// The days.
    pub(super) catalog: Catalog,
    /// Connections that read.
    pub(super) readers: Readers,
}

impl Files {
    /// Reads the file of a day; `None` if it is damaged, which is logged once, or was removed.
    pub(super) fn read<T>(
        &self,
        day: Day,
        read: impl FnOnce(&Connection) -> Sql<T>,
    ) -> Result<Option<T>, StoreError> {
        let path = self.folder.day(day);
        let failure = match self.readers.read(day, &path, read) {
            Ok(answer) => return Ok(Some(answer)),
            Err(failure) => fault::of_sqlite(failure, &path),
        };
        if !path.exists() {
            return Ok(None);
        }
        if failure.fault() != StoreFault::Damaged {
            return Err(failure);
        }
        self.note_damage(day, &failure);
        Ok(None)
    }

    fn note_damage(&self, day: Day, failure: &StoreError) {
        if self.catalog.is_damaged(day, failure) {
            error!(
                error = failure as &dyn std::error::Error,
                "a file of the timeline cannot be read; answers lack its day"
            );
        }
    }

    /// The days, oldest first, in which a key may be. A key is its first 64 bits.
    pub(super) fn days_with(&self, keys: &[u64]) -> Vec<Day> {
        let may_have = |known: &Known| keys.iter().any(|key| known.may_have(*key));
        self.catalog.all().into_iter().filter(may_have).map(|known| known.day).collect()
    }

    /// Writes the filters of the days that have ended and to which nothing was written for that time. Returns how many.
    pub(super) fn close_days(&self, quiet: Duration) -> Result<usize, StoreError> {
        let mut closed = 0;
        for ended in self.catalog.ended(quiet) {
            let is_closed = self.close_day(ended).inspect_err(|_| self.catalog.postpone(ended))?;
            closed += usize::from(is_closed);
        }
        Ok(closed)
    }

    fn close_day(&self, ended: Ended) -> Result<bool, StoreError> {
        let path = self.folder.day(ended.day);
        let target = self.folder.partial_filter(ended.day);
        // The outer error is the file's, the inner one that of the filter on the disk.
        match self.read(ended.day, |day| Ok(build::build(day, &path, ended.day, &target)))? {
            None => Ok(false),
            Some(Ok(last_row)) => self.catalog.close(&self.folder, ended, last_row),
            Some(Err(failure)) if failure.fault() == StoreFault::Damaged => {
                self.note_damage(ended.day, &failure);
                Ok(false)
            }
            Some(Err(failure)) => Err(failure),
        }
    }
}
