//! Where rows are kept: one trait for every engine, and what it is asked. It leaves to [`crate::observe`] what is read from the
//! streams, to [`crate::rules`] what is expected after a row, and to [`crate::life`] what rows mean together.
//!
//! What every engine promises, and the conformance suite (`tests/store`) proves:
//! - A batch is stored whole or not at all, with its position: after a crash the reader goes on where the rows end.
//! - A message's row is stored once, however often its batch comes: (stream, sequence, time of storing, part) is unique. The time is part of
//!   it because a stream that was created again counts from 1.
//! - An expectation that a row has already met is not opened, also if that row came first.
//! - Rows older than the retention disappear a whole day at a time.
//! - An entry of the audit log is stored when its call returns, stays as it is, and outlives the rows ([`audit`]).
//! - A message that was published again is counted in the audit log once, however often its batch comes, and before or with its row
//!   ([`replays`]).
//! - Erased rows are found by no look-up and no listing, and their neighbors stay.

pub mod audit;
pub mod error;
pub mod lease;
pub mod postgres;
pub mod replays;
pub mod shared;
pub mod sqlite;

use std::path::Path;
use std::sync::Arc;

use bus::replay::Replayed;
use channel::Secret;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::row::{Keys, LookupKey, Pointer, RecipientKey, Row, StreamNumber};
use crate::rules::{DueOrder, Expectation, Judged, RuleName, Settlement};
use crate::store::audit::{AuditEntry, AuditQuery, Audited};
pub use crate::store::error::StoreError;
pub use crate::store::lease::Lease;
pub use crate::store::shared::SharedStore;

/// Most rows of a batch.
pub const BATCH_ROWS_MAX: usize = 4096;
/// Most overdue expectations of a channel and rule that are counted: the cost of counting does not grow with what is overdue.
pub const OVERDUE_COUNTED_MAX: u64 = 10_000;

/// How far a stream was read and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The stream.
    pub stream: StreamNumber,
    /// When the stream was created. A stream that was created again is read from its beginning.
    pub created_at: Timestamp,
    /// How often reading began again: after the stream was created again, or had gone back to an older state. Any position of a
    /// later reading replaces those of earlier ones.
    pub reading: u32,
    /// What the stream did not hold of the messages up to this sequence is not missed: it was gone when this reading began.
    pub missed_after: u64,
    /// The sequence of the last message that was read; 0 before the first.
    pub sequence: u64,
    /// When that message was stored. If the stream held it no longer, or none was read, when that was noticed.
    pub stored_at: Timestamp,
}

impl Position {
    /// Whether a stored position of the same stream is replaced by this one. Form 1 of the files did not count readings: there only
    /// the time tells the positions of a stream that was created again apart.
    pub fn is_later(&self, stored: &Self) -> bool {
        let order = |of: &Self| (of.reading, of.created_at, of.sequence);
        order(self) > order(stored)
    }

    /// Whether the row of a message may be stored before this position is: messages are read again after a failed batch, and when
    /// reading began again.
    fn may_have_row(&self, row: &Row) -> bool {
        self.reading > 0 || row.pointer.sequence <= self.sequence
    }
}

/// Messages that the stream no longer held when they were to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The stream.
    pub stream: StreamNumber,
    /// The first missed sequence.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// When the message before them was stored; `None` if none was read.
    pub after: Option<Timestamp>,
    /// When the message after them was stored, or without one when they were noticed to be gone.
    pub before: Timestamp,
}

/// A row to store, and what follows from it.
#[derive(Debug, Clone)]
pub struct NewRow {
    /// The row, which the readers of new rows share.
    pub row: Arc<Row>,
    /// What is expected from now on.
    pub expected: Vec<Expectation>,
    /// What is no longer expected.
    pub settled: Vec<Settlement>,
    /// What its message says about its replay, in the first of the message's rows; `None` if it was published for the first time.
    pub replayed: Option<Box<Replayed>>,
}

/// Rows of one stream in its order, and the position after them.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The rows, at most [`BATCH_ROWS_MAX`].
    pub rows: Vec<NewRow>,
    /// How far the stream is read with them.
    pub position: Position,
    /// Messages that were missed before or between them.
    pub gaps: Vec<Gap>,
}

/// What a batch changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Appended {
    /// Rows that were not stored before.
    pub rows: usize,
    /// Expectations that the batch's rows met, with the time at which each began: for the metric of agents' view, and the usual time of
    /// lanes. Those of a file are left out, because many messages may name it.
    pub met: Vec<Expectation>,
}

/// Rows that were found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// The rows, oldest first.
    pub rows: Vec<Row>,
    /// Whether there are more than were asked for.
    pub is_cut: bool,
}

/// A place in the order of rows by time, from which a listing goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// When the row's message was stored.
    pub stored_at: Timestamp,
    /// Where.
    pub pointer: Pointer,
}

impl Place {
    /// The place of a row.
    pub fn of(row: &Row) -> Self {
        Self { stored_at: row.stored_at, pointer: row.pointer }
    }
}

/// Rows from the newest to the oldest.
#[derive(Debug, Clone, Copy)]
pub struct Listing {
    /// Only rows stored at this time or later.
    pub since: Timestamp,
    /// Only rows stored before this time.
    pub until: Timestamp,
    /// Only rows before this one in the order from the newest.
    pub after: Option<Place>,
    /// Most rows.
    pub limit: usize,
}

/// Rows of a stream by their sequences.
#[derive(Debug, Clone, Copy)]
pub struct SequenceQuery {
    /// The stream.
    pub stream: StreamNumber,
    /// Only rows with a greater sequence.
    pub after: u64,
    /// Only rows stored at this time or later.
    pub since: Timestamp,
    /// From which end.
    pub from: End,
    /// Most rows.
    pub limit: usize,
}

/// An end of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where the oldest message is.
    Oldest,
    /// Where the newest message is.
    Newest,
}

/// What was expected of a file and came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetFile {
    /// The rule.
    pub rule: RuleName,
    /// The file.
    pub file: LookupKey,
    /// The channel's id.
    pub channel: String,
    /// When the first row that met it was stored.
    pub since: Timestamp,
}

/// Which expectations are overdue.
#[derive(Debug, Clone)]
pub struct OverdueQuery {
    /// Only of this channel.
    pub channel: Option<String>,
    /// Up to which time each rule can be judged. Rules that are left out are not asked for.
    pub judged: Vec<Judged>,
    /// Only those after this one.
    pub after: Option<DueOrder>,
    /// Most expectations.
    pub limit: usize,
}

/// Number of overdue expectations of a channel and rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverdueCount {
    /// The channel's id.
    pub channel: String,
    /// The rule.
    pub rule: RuleName,
    /// How many; [`OVERDUE_COUNTED_MAX`] if there are that many or more.
    pub count: u64,
}

/// Ranges of messages that were missed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gaps {
    /// The last ones, in the order of time.
    pub ranges: Vec<Gap>,
    /// Number of earlier ones that are left out.
    pub left_out: u64,
}

/// Something that a store holds and cannot read: answers lack it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreadable {
    /// What is not in answers: a day such as `2026-11-27`, or `expectations`.
    pub part: String,
    /// What is wrong, for people.
    pub text: String,
}

/// What was removed because of its age.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expired {
    /// Days (files or partitions) that were removed.
    pub days: usize,
    /// Expectations that were removed.
    pub expectations: usize,
}

/// What an erasure removed from the store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErasedRows {
    /// Rows that were removed.
    pub rows: usize,
    /// Expectations that were removed: what was to follow after these rows.
    pub expectations: usize,
    /// Where the bytes of removed rows may still be, for people. Empty if they are overwritten.
    pub remains: Vec<&'static str>,
}

/// Answer of a store, or why there is none.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Opens the shared store of a URL, or without one the embedded store of a folder. `keys` are those that its rows are written
/// with.
///
/// # Errors
/// The store does not answer, is used by another process, or was written by a later version or with another secret.
pub async fn open(folder: &Path, url: Option<&Secret>, keys: &Keys) -> Result<Arc<dyn Store>, StoreError> {
    match url {
        Some(url) => {
            let url = String::from_utf8_lossy(url.expose());
            Ok(Arc::new(postgres::PostgresStore::open(&url, keys).await?))
        }
        None => Ok(Arc::new(sqlite::SqliteStore::open(folder.to_owned()).await?)),
    }
}

/// A store of rows.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// How far each stream is stored. A stream of which nothing is stored is left out.
    fn positions(&self) -> Answer<'_, Vec<Position>>;

    /// Stores a batch with its position.
    fn append(&self, batch: Batch) -> Answer<'_, Appended>;

    /// The rows that have any of the keys, oldest first, each once.
    fn find(&self, keys: Vec<LookupKey>, limit: usize) -> Answer<'_, Found>;

    /// The same without bodies, for lists.
    fn find_brief(&self, keys: Vec<LookupKey>, limit: usize) -> Answer<'_, Found>;

    /// Rows of a stream by their sequences, without bodies.
    fn by_sequence(&self, query: SequenceQuery) -> Answer<'_, Vec<Row>>;

    /// What was expected of these files and came.
    fn met_files(&self, files: Vec<LookupKey>) -> Answer<'_, Vec<MetFile>>;

    /// A customer's rows, newest first, without bodies.
    fn of_recipient(&self, recipient: RecipientKey, listing: Listing) -> Answer<'_, Vec<Row>>;

    /// The rows that begin a message (commands and customers' messages), newest first, without bodies.
    fn beginnings(&self, channel: Option<String>, listing: Listing) -> Answer<'_, Vec<Row>>;

    /// What is overdue, in the order of [`DueOrder`].
    fn overdue(&self, query: OverdueQuery) -> Answer<'_, Vec<Expectation>>;

    /// How much is overdue, by channel and rule.
    fn overdue_counts(&self, judged: Vec<Judged>) -> Answer<'_, Vec<OverdueCount>>;

    /// The last ranges of messages that were missed, at most that many. Those older than the retention are gone.
    fn gaps(&self, limit: usize) -> Answer<'_, Gaps>;

    /// Removes the days that end before a time, and expectations that began before it.
    fn expire(&self, before: Timestamp) -> Answer<'_, Expired>;

    /// Removes rows, and what is expected after them, and overwrites them as far as the engine can. A place without a row is
    /// skipped, so that the same call may be made again after a crash.
    fn erase(&self, places: Vec<Place>) -> Answer<'_, ErasedRows>;

    /// Bytes that it takes on the disk.
    fn size(&self) -> Answer<'_, u64>;

    /// What it does for the processes that share it; `None` if only this one can use it.
    fn shared(&self) -> Option<&dyn SharedStore> {
        None
    }

    /// Adds an entry to the audit log, and returns its number. Numbers and control characters in its texts are replaced.
    fn record(&self, entry: AuditEntry) -> Answer<'_, u64>;

    /// Entries of the audit log, from the newest to the oldest.
    fn audit(&self, query: AuditQuery) -> Answer<'_, Vec<Audited>>;

    /// Removes the entries of the audit log before a time, which must be [`audit::KEPT`] ago. Returns how many.
    fn expire_audit(&self, before: Timestamp) -> Answer<'_, usize>;

    /// What it holds and cannot read: answers lack it. Nothing, unless the engine says otherwise. It does not wait.
    fn unreadable(&self) -> Vec<Unreadable> {
        Vec::new()
    }
}
