//! Answers over the days of a store: which files are read, in which order, and when the answer is complete.

use crate::row::{LookupKey, RecipientKey, Row};
use crate::rules::{Expectation, Judged};
use crate::store::error::StoreError;
use crate::store::sqlite::columns;
use crate::store::sqlite::day::Day;
use crate::store::sqlite::fault;
use crate::store::sqlite::files::Files;
use crate::store::sqlite::find::Content;
use crate::store::sqlite::listing::{self, Range};
use crate::store::sqlite::{find, overdue, schema};
use crate::store::{End, Found, Listing, MetFile, OverdueCount, OverdueQuery, SequenceQuery};

impl Files {
    /// The rows that have any of the keys, oldest first.
    pub(super) fn find(
        &self,
        keys: &[LookupKey],
        limit: usize,
        content: Content,
    ) -> Result<Found, StoreError> {
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        let prefixes: Vec<u64> = keys.iter().map(|key| columns::prefix(&key.0)).collect();
        let mut rows: Vec<Row> = Vec::new();
        // One more than the limit says whether there are more.
        let wanted = limit.saturating_add(1);
        for day in self.days_with(&prefixes) {
            let missing = wanted - rows.len();
            rows.extend(self.read(day, |day| find::find(day, &keys, missing, content))?.unwrap_or_default());
            if rows.len() == wanted {
                break;
            }
        }
        let is_cut = rows.len() > limit;
        rows.truncate(limit);
        Ok(Found { rows, is_cut })
    }

    /// A customer's rows, newest first.
    pub(super) fn of_recipient(
        &self,
        recipient: RecipientKey,
        listing: &Listing,
    ) -> Result<Vec<Row>, StoreError> {
        let days = self.days_with(&[columns::prefix(&recipient.0)]);
        let range = Range::of(listing);
        self.newest_first(days, listing, |day, limit| listing::of_recipient(day, recipient, &range, limit))
    }

    /// The rows that begin a message, newest first.
    pub(super) fn beginnings(
        &self,
        channel: Option<&str>,
        listing: &Listing,
    ) -> Result<Vec<Row>, StoreError> {
        let days = self.catalog.all().into_iter().map(|known| known.day).collect();
        let range = Range::of(listing);
        self.newest_first(days, listing, |day, limit| listing::beginnings(day, channel, &range, limit))
    }

    fn newest_first(
        &self,
        days: Vec<Day>,
        listing: &Listing,
        read: impl Fn(&rusqlite::Connection, usize) -> fault::Sql<Vec<Row>>,
    ) -> Result<Vec<Row>, StoreError> {
        let mut rows: Vec<Row> = Vec::new();
        for day in days.into_iter().rev().filter(|day| listing::may_have(*day, listing)) {
            if rows.len() >= listing.limit {
                break;
            }
            let missing = listing.limit - rows.len();
            rows.extend(self.read(day, |day| read(day, missing))?.unwrap_or_default());
        }
        Ok(rows)
    }

    /// Rows of a stream by their sequences.
    pub(super) fn by_sequence(&self, query: &SequenceQuery) -> Result<Vec<Row>, StoreError> {
        let mut days: Vec<Day> = self.catalog.all().into_iter().map(|known| known.day).collect();
        days.retain(|day| *day >= Day::of(query.since));
        if query.from == End::Newest {
            days.reverse();
        }
        let mut rows: Vec<Row> = Vec::new();
        for day in days {
            if rows.len() >= query.limit {
                break;
            }
            let missing = SequenceQuery { limit: query.limit - rows.len(), ..*query };
            rows.extend(self.read(day, |day| listing::by_sequence(day, &missing))?.unwrap_or_default());
        }
        Ok(rows)
    }

    /// What was expected of files and came.
    pub(super) fn met_files(&self, files: &[LookupKey]) -> Result<Vec<MetFile>, StoreError> {
        self.read_open(|file| overdue::met_files(file, files))
    }

    /// What is overdue.
    pub(super) fn overdue(&self, query: &OverdueQuery) -> Result<Vec<Expectation>, StoreError> {
        self.read_open(|file| overdue::overdue(file, query))
    }

    /// How much is overdue, by channel and rule.
    pub(super) fn overdue_counts(&self, judged: &[Judged]) -> Result<Vec<OverdueCount>, StoreError> {
        self.read_open(|file| overdue::counts(file, judged))
    }

    fn read_open<T>(
        &self,
        read: impl FnOnce(&rusqlite::Connection) -> fault::Sql<T>,
    ) -> Result<T, StoreError> {
        let path = self.folder.open_file();
        let answer = schema::reader(&path).and_then(|file| read(&file));
        answer.map_err(|error| fault::of_sqlite(error, &path))
    }
}
