//! Which days there are, their filters, and which of them cannot be read.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::row::StreamNumber;
use crate::store::error::StoreError;
use crate::store::sqlite::day::Day;
use crate::store::sqlite::fault;
use crate::store::sqlite::filter::Filter;
use crate::store::sqlite::folder::Folder;
use crate::store::{Gap, Gaps, Unreadable};

/// Most ranges of missed messages of a day that are held; of more, the earlier ones are counted only.
const GAPS_OF_DAY_MAX: usize = 1000;

/// The days of a store.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    days: Mutex<BTreeMap<Day, Entry>>,
    /// Names of the damaged files that were moved aside.
    aside: Mutex<Vec<String>>,
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
    /// The ranges of missed messages that are stored in it, in the order of time: a look-up does not read every file for them.
    gaps: Vec<Gap>,
    /// Number of those that are not held.
    gaps_left_out: u64,
}

impl Entry {
    fn add_gaps(&mut self, gaps: &[Gap]) {
        for gap in gaps {
            let place = gap_order(gap);
            match self.gaps.binary_search_by_key(&place, gap_order) {
                Ok(known) => self.gaps[known] = *gap,
                Err(at) => self.gaps.insert(at, *gap),
            }
        }
        let excess = self.gaps.len().saturating_sub(GAPS_OF_DAY_MAX);
        self.gaps.drain(..excess);
        self.gaps_left_out += excess as u64;
    }
}

fn gap_order(gap: &Gap) -> (Timestamp, StreamNumber, u64) {
    (gap.before, gap.stream, gap.first)
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
    pub(super) fn add(&self, day: Day, filter: Option<Filter>, gaps: &[Gap]) {
        let mut days = self.days();
        let entry = days.entry(day).or_default();
        entry.filter = filter.map(Arc::new);
        entry.add_gaps(gaps);
    }

    /// Adds ranges that were stored in a day.
    pub(super) fn add_gaps(&self, day: Day, gaps: &[Gap]) {
        self.days().entry(day).or_default().add_gaps(gaps);
    }

    /// The last ranges of missed messages, at most that many.
    pub(super) fn gaps(&self, limit: usize) -> Gaps {
        let days = self.days();
        let mut ranges: Vec<Gap> = days.values().flat_map(|entry| &entry.gaps).copied().collect();
        ranges.sort_unstable_by_key(gap_order);
        let excess = ranges.len().saturating_sub(limit);
        ranges.drain(..excess);
        let not_held: u64 = days.values().map(|entry| entry.gaps_left_out).sum();
        Gaps { ranges, left_out: not_held + excess as u64 }
    }

    /// Notes which damaged files were moved aside.
    pub(super) fn set_aside(&self, names: Vec<String>) {
        *self.aside.lock().unwrap_or_else(PoisonError::into_inner) = names;
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

    /// The days that cannot be read, and the files that were moved aside.
    pub(super) fn unreadable(&self) -> Vec<Unreadable> {
        let days = self.days();
        let damaged = days.iter().filter(|(_, entry)| entry.damage.is_some()).map(|(day, _)| Unreadable {
            part: day.to_string(),
            text: format!(
                "{} is damaged: answers lack the rows of its day; the log of timeline says what to do",
                day.file()
            ),
        });
        let aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = aside.iter().map(|name| Unreadable {
            part: part_of(name),
            text: format!(
                "{name} was damaged and moved aside: answers have of it what the streams still held"
            ),
        });
        let mut all: Vec<Unreadable> = damaged.chain(moved).collect();
        all.sort_unstable();
        all
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

/// The part of the store that a file has which was moved aside.
fn part_of(aside: &str) -> String {
    let day = aside.split_once('.').map_or(aside, |(name, _)| name);
    if day == "open" { "expectations".to_owned() } else { day.to_owned() }
}
