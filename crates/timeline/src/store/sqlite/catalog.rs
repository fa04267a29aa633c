//! Which days there are, their filters, and which of them cannot be read.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::store::error::StoreError;
use crate::store::sqlite::day::Day;
use crate::store::sqlite::fault;
use crate::store::sqlite::filter::Filter;
use crate::store::sqlite::folder::Folder;

/// The days of a store.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    days: Mutex<BTreeMap<Day, Entry>>,
}

#[derive(Debug, Default)]
struct Entry {
    filter: Option<Arc<Filter>>,
    /// Changes whenever a transaction begins and ends: a filter is of the rows of one version.
    version: u64,
    is_written: bool,
    written_at: Option<Instant>,
    /// What is wrong with it.
    damage: Option<String>,
}

/// A day to read.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// The day.
    pub(super) day: Day,
    filter: Option<Arc<Filter>>,
}

impl Known {
    /// Whether a key may be in the day. A key is its first 64 bits.
    pub(super) fn may_have(&self, key: u64) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.may_have(key))
    }
}

/// A day whose filter is to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    /// The day.
    pub(super) day: Day,
    version: u64,
}

impl Catalog {
    /// Adds a day of which there is a file.
    pub(super) fn add(&self, day: Day, filter: Option<Filter>) {
        self.days().entry(day).or_default().filter = filter.map(Arc::new);
    }

    /// The days, oldest first.
    pub(super) fn all(&self) -> Vec<Known> {
        self.days().iter().map(|(day, entry)| Known { day: *day, filter: entry.filter.clone() }).collect()
    }

    /// Removes a day's filter before rows are added to it.
    pub(super) fn begin_write(&self, folder: &Folder, day: Day) -> Result<(), StoreError> {
        let mut days = self.days();
        let entry = days.entry(day).or_default();
        if entry.filter.is_some() {
            folder.remove(&folder.filter(day))?;
            entry.filter = None;
        }
        entry.version += 1;
        entry.is_written = true;
        Ok(())
    }

    /// Notes that a day's transaction has ended, well or not.
    pub(super) fn end_write(&self, day: Day) {
        if let Some(entry) = self.days().get_mut(&day) {
            entry.version += 1;
            entry.is_written = false;
            entry.written_at = Some(Instant::now());
        }
    }

    /// The days without a filter before the newest, to which nothing was written for that time.
    pub(super) fn ended(&self, quiet: Duration) -> Vec<Ended> {
        let days = self.days();
        let Some(newest) = days.keys().next_back() else { return Vec::new() };
        let is_quiet = |entry: &Entry| entry.written_at.is_none_or(|time| time.elapsed() >= quiet);
        days.range(..newest)
            .filter(|(_, entry)| entry.filter.is_none() && entry.damage.is_none())
            .filter(|(_, entry)| !entry.is_written && is_quiet(entry))
            .map(|(day, entry)| Ended { day: *day, version: entry.version })
            .collect()
    }

    /// Takes a written filter, unless rows were added to its day since. Returns whether it was taken.
    pub(super) fn close(&self, folder: &Folder, ended: Ended, last_row: i64) -> Result<bool, StoreError> {
        let partial = folder.partial_filter(ended.day);
        let mut days = self.days();
        let entry = days.get_mut(&ended.day).filter(|entry| entry.version == ended.version);
        let Some(entry) = entry else {
            folder.remove(&partial)?;
            return Ok(false);
        };
        let path = folder.filter(ended.day);
        fs::rename(&partial, &path).map_err(|error| fault::of_disk(error, &path))?;
        let filter =
            Filter::open(&path, ended.day, last_row).map_err(|error| fault::of_disk(error, &path))?;
        entry.filter = filter.map(Arc::new);
        Ok(entry.filter.is_some())
    }

    /// Waits again before a day's filter is written: it could not be.
    pub(super) fn postpone(&self, ended: Ended) {
        if let Some(entry) = self.days().get_mut(&ended.day) {
            entry.written_at = Some(Instant::now());
        }
    }

    /// Notes that a day cannot be read, and returns whether that is news.
    pub(super) fn is_damaged(&self, day: Day, what: &StoreError) -> bool {
        let mut days = self.days();
        let Some(entry) = days.get_mut(&day) else { return false };
        entry.damage.replace(what.to_string()).is_none()
    }

    /// What is wrong with the days that cannot be read.
    pub(super) fn damage(&self) -> Vec<String> {
        self.days().values().filter_map(|entry| entry.damage.clone()).collect()
    }

    /// Drops a day whose file is removed.
    pub(super) fn remove(&self, day: Day) {
        self.days().remove(&day);
    }

    fn days(&self) -> MutexGuard<'_, BTreeMap<Day, Entry>> {
        // Each change is whole before anything can panic.
        self.days.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
