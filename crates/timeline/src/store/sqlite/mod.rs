//! The embedded store: SQLite, one file a day.
//!
//! | file | what is in it |
//! |---|---|
//! | `2026-11-27.sqlite` | the rows that the streams stored on that day (UTC), their keys, positions and gaps |
//! | `2026-11-26.filter` | for a day that has ended: whether a key may be in it |
//! | `open.sqlite` | what is expected, and positions whose day was removed |
//! | `audit.sqlite` | the audit log |
//! | `lock` | locked by the process that has the folder |
//! | `….sqlite.damaged-1764200000` | a file that could not be read at the start or could not be written, as it was |
//!
//! **Writing.** A batch is divided by the day of its rows; [`writer`] says in which order files are changed and what a crash
//! or power failure leaves. **Reading.** A look-up asks the filters, and opens one file after the other: today's, and those
//! whose filter says "may be", which is wrong less than once in a hundred. **Removal.** The files of a day are deleted whole.
//!
//! **Damage.** A day that cannot be read is left out of answers, logged once, and named by [`Store::unreadable`]. A file
//! that is damaged where the writer needs it is moved aside; its positions are gone with it, so that the streams are read again
//! from the position before. Files of a later version, and of other programs, are refused and left as they are.

mod answers;
mod audit;
mod catalog;
mod columns;
mod day;
mod day_file;
mod erase;
mod fault;
mod files;
mod filter;
mod find;
mod folder;
mod form_1;
mod listing;
mod met;
mod open;
mod overdue;
mod readers;
mod replays;
mod schema;
mod start;
mod writer;

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use crate::row::{LookupKey, RecipientKey, Row};
use crate::rules::{Expectation, Judged};
use crate::store::audit::{AuditEntry, AuditQuery, Audited};
use crate::store::error::{StoreError, StoreFault};
use crate::store::sqlite::audit::AuditFile;
use crate::store::sqlite::files::Files;
use crate::store::sqlite::find::Content;
use crate::store::sqlite::writer::Writer;
use crate::store::{
    Answer, Appended, Batch, ErasedRows, Expired, Found, Gaps, Listing, MetFile, OverdueCount, OverdueQuery,
    Place, Position, SequenceQuery, Store, Unreadable,
};

/// Look-ups that run at a time; each has one file open. More wait.
const LOOKUPS_MAX: usize = 4;
/// Time without a write after which a day that has ended gets its filter.
pub const FILTER_AFTER: Duration = Duration::from_secs(60);

/// The embedded store.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    files: Arc<Files>,
    writer: Mutex<Writer>,
    audit: Arc<AuditFile>,
    /// A permit is held until the work ends, also where its caller has given up.
    lookups: Arc<Semaphore>,
    /// Held while filters are written: one task at a time does.
    closing: Arc<Semaphore>,
    /// Locked for as long as the store is open.
    _lock: File,
}

impl SqliteStore {
    /// Opens the store of a folder, which is made if it is missing.
    ///
    /// # Errors
    /// Another process has the folder, the disk cannot be read or written, or a file is of a later version.
    pub async fn open(folder: PathBuf) -> Result<Self, StoreError> {
        let opened = blocking(move || start::open(folder)).await?;
        let store = Self {
            inner: Arc::new(Inner {
                files: opened.files,
                writer: Mutex::new(opened.writer),
                audit: opened.audit,
                lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
                closing: Arc::new(Semaphore::new(1)),
                _lock: opened.lock,
            }),
        };
        store.close_days_in_background();
        Ok(store)
    }

    /// Writes the filters of the days before the newest to which nothing was written for that time. Returns how many it
    /// wrote. The store does it by itself with [`FILTER_AFTER`].
    ///
    /// # Errors
    /// The disk is full or cannot be written. Look-ups work without filters, and take longer.
    pub async fn close_days(&self, quiet: Duration) -> Result<usize, StoreError> {
        let alone = permit(&self.inner.closing).await?;
        let files = Arc::clone(&self.inner.files);
        blocking(move || {
            let _alone = alone;
            files.close_days(quiet)
        })
        .await
    }

    /// How often look-ups and the writer have read the file of a day.
    pub fn files_read(&self) -> u64 {
        self.inner.files.readers.files()
    }

    fn close_days_in_background(&self) {
        if self.inner.files.catalog.ended(FILTER_AFTER).is_empty()
            || self.inner.closing.available_permits() == 0
        {
            return;
        }
        let store = self.clone();
        tokio::spawn(async move {
            if let Err(error) = store.close_days(FILTER_AFTER).await {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the filter of a day was not written; look-ups read its file, and it is tried again"
                );
            }
        });
    }

    /// Reads files, when it is this look-up's turn.
    async fn look_up<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Files) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = permit(&self.inner.lookups).await?;
        let files = Arc::clone(&self.inner.files);
        blocking(move || {
            let _turn = turn;
            read(&files)
        })
        .await
    }

    /// Works with the audit log.
    async fn with_audit<T: Send + 'static>(
        &self,
        work: impl FnOnce(&AuditFile) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || work(&inner.audit)).await
    }

    /// Works with the writer, when it is free.
    async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut Writer) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || {
            // A panic has rolled back its transaction.
            write(&mut inner.writer.lock().unwrap_or_else(PoisonError::into_inner))
        })
        .await
    }
}

impl Store for SqliteStore {
    fn positions(&self) -> Answer<'_, Vec<Position>> {
        Box::pin(self.write(|writer| Ok(writer.positions())))
    }

    fn append(&self, batch: Batch) -> Answer<'_, Appended> {
        Box::pin(async move {
            let appended = self.write(|writer| writer.append(batch)).await?;
            self.close_days_in_background();
            Ok(appended)
        })
    }

    fn find(&self, keys: Vec<LookupKey>, limit: usize) -> Answer<'_, Found> {
        Box::pin(self.look_up(move |files| files.find(&keys, limit, Content::Whole)))
    }

    fn find_brief(&self, keys: Vec<LookupKey>, limit: usize) -> Answer<'_, Found> {
        Box::pin(self.look_up(move |files| files.find(&keys, limit, Content::Brief)))
    }

    fn by_sequence(&self, query: SequenceQuery) -> Answer<'_, Vec<Row>> {
        Box::pin(self.look_up(move |files| files.by_sequence(&query)))
    }

    fn met_files(&self, files: Vec<LookupKey>) -> Answer<'_, Vec<MetFile>> {
        Box::pin(self.look_up(move |of| of.met_files(&files)))
    }

    fn of_recipient(&self, recipient: RecipientKey, listing: Listing) -> Answer<'_, Vec<Row>> {
        Box::pin(self.look_up(move |files| files.of_recipient(recipient, &listing)))
    }

    fn beginnings(&self, channel: Option<String>, listing: Listing) -> Answer<'_, Vec<Row>> {
        Box::pin(self.look_up(move |files| files.beginnings(channel.as_deref(), &listing)))
    }

    fn overdue(&self, query: OverdueQuery) -> Answer<'_, Vec<Expectation>> {
        Box::pin(self.look_up(move |files| files.overdue(&query)))
    }

    fn overdue_counts(&self, judged: Vec<Judged>) -> Answer<'_, Vec<OverdueCount>> {
        Box::pin(self.look_up(move |files| files.overdue_counts(&judged)))
    }

    fn gaps(&self, limit: usize) -> Answer<'_, Gaps> {
        Box::pin(async move { Ok(self.inner.files.catalog.gaps(limit)) })
    }

    fn expire(&self, before: Timestamp) -> Answer<'_, Expired> {
        Box::pin(self.write(move |writer| writer.expire(before)))
    }

    fn erase(&self, places: Vec<Place>) -> Answer<'_, ErasedRows> {
        Box::pin(self.write(move |writer| writer.erase(places)))
    }

    fn size(&self) -> Answer<'_, u64> {
        Box::pin(self.look_up(|files| files.folder.size()))
    }

    fn record(&self, entry: AuditEntry) -> Answer<'_, u64> {
        let entry = entry.cleaned();
        Box::pin(self.with_audit(move |audit| audit.add(&entry)))
    }

    fn audit(&self, query: AuditQuery) -> Answer<'_, Vec<Audited>> {
        Box::pin(self.with_audit(move |audit| audit.list(query)))
    }

    fn expire_audit(&self, before: Timestamp) -> Answer<'_, usize> {
        Box::pin(self.with_audit(move |audit| audit.expire(day::nanoseconds(before))))
    }

    fn unreadable(&self) -> Vec<Unreadable> {
        self.inner.files.catalog.unreadable()
    }
}

async fn permit(of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, StoreError> {
    Arc::clone(of).acquire_owned().await.map_err(|_| stopped())
}

/// Runs on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => {
            let text = "the work on the timeline's files was stopped; see the log, and try again";
            Err(StoreError::new(StoreFault::Unavailable, text, Some(Box::new(error))))
        }
    }
}

fn stopped() -> StoreError {
    StoreError::new(StoreFault::Unavailable, "the timeline's store is closed; start imchannel-timeline", None)
}
