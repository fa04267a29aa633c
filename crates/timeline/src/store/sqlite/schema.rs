//! The form of the files, and how a connection to one is opened.

use std::alloc::GlobalAlloc;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::store::error::{StoreError, StoreFault};
use crate::store::sqlite::fault::{self, Sql};
use crate::store::sqlite::form_1;
use crate::yields::Yields;

const _: () = assert!(
    option_env!("LIBSQLITE3_FLAGS").is_some(),
    "SQLite would be compiled without fdatasync and mimalloc: build where cargo reads .cargo/config.toml of the repository"
);

/// SQLite allocates from mimalloc (.cargo/config.toml), which a linker leaves out of a program whose own allocator it is not (a test of this
/// crate), unless Rust code needs it too.
#[used]
static ALLOCATOR: &(dyn GlobalAlloc + Sync) = &mimalloc::MiMalloc;

/// `application_id` of the files: `imTL`.
const APPLICATION: i64 = 0x696d_544c;
/// `user_version` of the files with rows: their form. A file of an older form is brought up to date when it is opened for writing.
const FORM: i64 = 2;
/// The same of the file of the audit log.
const AUDIT_FORM: i64 = 3;
/// Rows whose ids are sorted together. A batch changes the pages of one segment only, so that they stay in memory, and a
/// look-up searches each segment of a day.
pub(super) const SEGMENT_ROWS: i64 = 131_072;
/// Memory for the pages of a file that is written, in KiB.
const WRITER_CACHE_KIB: i64 = 16 * 1024;
/// Memory for the pages of a file that is read, in KiB.
const READER_CACHE_KIB: i64 = 1024;
/// Pages (4 KiB) in the WAL from which they are copied into the file.
const CHECKPOINT_PAGES: i64 = 8192;
/// Size to which a WAL is cut after it was larger, in bytes.
const WAL_BYTES: i64 = 64 * 1024 * 1024;
/// Steps of SQLite between two yields: some inserts.
const STEPS: i32 = 200;

/// Tables of a day. Times are nanoseconds since 1970. `ids` and `recipients` have the first 64 bits of a key: the whole key
/// is in the row, which is compared.
const DAY: &str = "
CREATE TABLE channels (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE rows (
  number INTEGER PRIMARY KEY, stream INTEGER NOT NULL, sequence INTEGER NOT NULL, stored_at INTEGER NOT NULL,
  part INTEGER NOT NULL, kind INTEGER NOT NULL, channel INTEGER NOT NULL, blob BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX rows_by_pointer ON rows (stream, sequence, stored_at, part);
CREATE TABLE ids (
  segment INTEGER NOT NULL, key INTEGER NOT NULL, number INTEGER NOT NULL,
  PRIMARY KEY (segment, key, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE recipients (
  segment INTEGER NOT NULL, key INTEGER NOT NULL, stored_at INTEGER NOT NULL, stream INTEGER NOT NULL,
  sequence INTEGER NOT NULL, part INTEGER NOT NULL, number INTEGER NOT NULL,
  PRIMARY KEY (segment, key, stored_at, stream, sequence, part)
) STRICT, WITHOUT ROWID;
CREATE TABLE beginnings (
  stored_at INTEGER NOT NULL, stream INTEGER NOT NULL, sequence INTEGER NOT NULL, part INTEGER NOT NULL,
  channel INTEGER NOT NULL, number INTEGER NOT NULL,
  PRIMARY KEY (stored_at, stream, sequence, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX beginnings_by_channel ON beginnings (channel, stored_at, stream, sequence, part, number);
CREATE TABLE positions (
  stream INTEGER PRIMARY KEY, created_at INTEGER NOT NULL, reading INTEGER NOT NULL, missed_after INTEGER NOT NULL,
  sequence INTEGER NOT NULL, stored_at INTEGER NOT NULL
) STRICT;
CREATE TABLE gaps (
  stream INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, after INTEGER, before INTEGER NOT NULL,
  PRIMARY KEY (stream, before, first)
) STRICT, WITHOUT ROWID;
";

/// Tables of what is expected, which spans days.
const OPEN: &str = "
CREATE TABLE expectations (
  rule INTEGER NOT NULL, key BLOB NOT NULL, channel TEXT NOT NULL, since INTEGER NOT NULL, due INTEGER NOT NULL,
  file BLOB,
  PRIMARY KEY (rule, key, channel)
) STRICT, WITHOUT ROWID;
CREATE INDEX expectations_by_channel ON expectations (channel, rule, due, key);
CREATE INDEX expectations_by_file ON expectations (file, rule) WHERE file IS NOT NULL;
CREATE TABLE met_files (
  file BLOB NOT NULL, rule INTEGER NOT NULL, channel TEXT NOT NULL, since INTEGER NOT NULL,
  PRIMARY KEY (file, rule, channel)
) STRICT, WITHOUT ROWID;
CREATE TABLE positions (
  stream INTEGER PRIMARY KEY, created_at INTEGER NOT NULL, reading INTEGER NOT NULL, missed_after INTEGER NOT NULL,
  sequence INTEGER NOT NULL, stored_at INTEGER NOT NULL
) STRICT;
";

/// Table of the audit log, and what keeps its entries as they are. Times are nanoseconds since 1970; 34,560,000 seconds are
/// [`crate::store::audit::KEPT`].
const AUDIT: &str = "
CREATE TABLE entries (
  number INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, user TEXT NOT NULL, role TEXT NOT NULL,
  address TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL, reason TEXT NOT NULL, details TEXT NOT NULL
) STRICT;
CREATE TRIGGER entries_stay BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'an entry of the audit log cannot be changed'); END;
CREATE TRIGGER entries_are_kept BEFORE DELETE ON entries WHEN OLD.at > (unixepoch() - 34560000) * 1000000000
BEGIN SELECT RAISE(ABORT, 'an entry of the audit log cannot be removed before 400 days'); END;
";

/// What makes form 3 of the audit log of an earlier one, which did not count replays. `replays` has the counts of an entry;
/// `replayed` has the messages that are counted, so that each is counted once.
const REPLAYS: &str = "
CREATE TABLE replays (
  entry INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, at INTEGER NOT NULL, events INTEGER NOT NULL,
  commands INTEGER NOT NULL, last_at INTEGER NOT NULL
) STRICT;
CREATE INDEX replays_by_time ON replays (at);
CREATE TABLE replayed (
  stream INTEGER NOT NULL, sequence INTEGER NOT NULL, stored_at INTEGER NOT NULL,
  PRIMARY KEY (stored_at, stream, sequence)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER replays_grow BEFORE UPDATE ON replays
WHEN NEW.entry <> OLD.entry OR NEW.key <> OLD.key OR NEW.at <> OLD.at
  OR NEW.events < OLD.events OR NEW.commands < OLD.commands OR NEW.last_at < OLD.last_at
BEGIN SELECT RAISE(ABORT, 'the counts of a replay in the audit log only grow'); END;
CREATE TRIGGER replays_are_kept BEFORE DELETE ON replays WHEN OLD.at > (unixepoch() - 34560000) * 1000000000
BEGIN SELECT RAISE(ABORT, 'the counts of a replay in the audit log cannot be removed before 400 days'); END;
";

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The rows of a day. A power failure may lose its last transactions, and with them their positions.
    Day,
    /// What is expected. A transaction is on the disk when it ends.
    Open,
    /// The audit log. A transaction is on the disk when it ends.
    Audit,
}

impl Form {
    /// The current number of the form.
    fn number(self) -> i64 {
        match self {
            Self::Day | Self::Open => FORM,
            Self::Audit => AUDIT_FORM,
        }
    }

    /// What makes a file of the current form of what is stored.
    fn tables(self, stored: StoredForm) -> String {
        match (stored, self) {
            (StoredForm::Current, _) => String::new(),
            (StoredForm::New, Self::Day) => DAY.to_owned(),
            (StoredForm::New, Self::Open) => OPEN.to_owned(),
            (StoredForm::New, Self::Audit) => [AUDIT, REPLAYS].concat(),
            (StoredForm::Earlier, Self::Day) => form_1::DAY.to_owned(),
            (StoredForm::Earlier, Self::Open) => form_1::OPEN.to_owned(),
            // The audit log was the same in forms 1 and 2.
            (StoredForm::Earlier, Self::Audit) => REPLAYS.to_owned(),
        }
    }
}

/// Why a file was not opened.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Its content cannot be read.
    Damaged(StoreError),
    /// Anything else: another form, no room, a lock.
    Other(StoreError),
}

impl From<Refusal> for StoreError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Damaged(error) | Refusal::Other(error) => error,
        }
    }
}

/// A connection that writes; the file is made if it is missing.
pub(super) fn writer(path: &Path, form: Form) -> Result<Connection, Refusal> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(|error| refusal(error, path))?;
    // Before the first change: a file of another program stays as it is.
    let stored = check(&connection, form, path)?;
    prepare_writer(&mut connection, path, form, stored).map_err(|error| refusal(error, path))?;
    Ok(connection)
}

/// Yields between the steps of what a connection does, until the time of `yields`. They replace those of the batch before.
pub(super) fn add_yields(connection: &mut Connection, yields: Yields) -> Sql<()> {
    let step = move || {
        yields.step();
        // The statement goes on.
        false
    };
    connection.progress_handler(STEPS, Some(step))
}

/// A connection that reads an existing file.
pub(super) fn reader(path: &Path) -> Sql<Connection> {
    // Not "read only": the first connection to a file after a crash repairs it from its WAL.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn prepare_writer(connection: &mut Connection, path: &Path, form: Form, stored: StoredForm) -> Sql<()> {
    let synchronous = match form {
        Form::Day => "NORMAL",
        Form::Open | Form::Audit => "FULL",
    };
    connection.pragma_update(None, "secure_delete", true)?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
    if stored == StoredForm::Current {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(&form.tables(stored))?;
    if (stored, form) == (StoredForm::Earlier, Form::Open)
        && let Some(folder) = path.parent()
    {
        form_1::name_queues(&transaction, folder)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", form.number())?;
    transaction.commit()
}

/// What is in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoredForm {
    /// Nothing.
    New,
    /// An earlier form.
    Earlier,
    /// The current form.
    Current,
}

/// What is in the file. Refuses one of another program and of a later version.
fn check(connection: &Connection, form: Form, path: &Path) -> Result<StoredForm, Refusal> {
    let number = |query: &str| {
        connection.query_row(query, [], |row| row.get::<_, i64>(0)).map_err(|error| refusal(error, path))
    };
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let (path, current) = (path.display(), form.number());
    let text = match (number("PRAGMA application_id")?, number("PRAGMA user_version")?) {
        (APPLICATION, form) if form == current => return Ok(StoredForm::Current),
        (APPLICATION, form) if (1..current).contains(&form) => return Ok(StoredForm::Earlier),
        (0, 0) if tables == 0 => return Ok(StoredForm::New),
        (APPLICATION, form) => format!(
            "{path} has form {form}, and this version of imchannel-timeline reads form {current}; start the version that \
             wrote it, or move the file away"
        ),
        _ => format!("{path} is not a file of imchannel-timeline; move it away, or set another folder"),
    };
    Err(Refusal::Other(StoreError::new(StoreFault::Damaged, text, None)))
}

pub(super) fn refusal(error: rusqlite::Error, path: &Path) -> Refusal {
    let is_damage = fault::is_damage(&error);
    let error = fault::of_sqlite(error, path);
    if is_damage { Refusal::Damaged(error) } else { Refusal::Other(error) }
}
