//! What an error of SQLite or of the disk means for the caller: try again, make room, or see to a damaged file.

use std::io;
use std::path::Path;

use rusqlite::ffi::{self, ErrorCode};

use crate::store::error::{StoreError, StoreFault};

/// Result of a statement.
pub(super) type Sql<T> = rusqlite::Result<T>;

/// The error of a store for an error of SQLite in a file.
pub(super) fn of_sqlite(error: rusqlite::Error, path: &Path) -> StoreError {
    let path = path.display();
    let fault = fault(&error);
    let text = match fault {
        StoreFault::Full => format!("no room for {path}; free space on its disk, or shorten the retention"),
        StoreFault::Damaged => format!(
            "{path} is damaged; the other days are readable. Keep a copy and move the file away: what the streams still \
             hold of its day is read again at the next start"
        ),
        // Nothing of SQLite is refused.
        StoreFault::Unavailable | StoreFault::Refused => {
            format!(
                "cannot read or write {path} now; check the disk, its permissions and the log of the system"
            )
        }
    };
    StoreError::new(fault, text, Some(Box::new(error)))
}

/// The error of a store for an error of the file system.
pub(super) fn of_disk(error: io::Error, path: &Path) -> StoreError {
    let path = path.display();
    let (fault, text) = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => (
            StoreFault::Full,
            format!("no room for {path}; free space on its disk, or shorten the retention"),
        ),
        _ => (
            StoreFault::Unavailable,
            format!(
                "cannot read or write {path} now; check the disk, its permissions and the log of the system"
            ),
        ),
    };
    StoreError::new(fault, text, Some(Box::new(error)))
}

/// Whether a file is damaged, as its error says.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    fault(error) == StoreFault::Damaged
}

fn fault(error: &rusqlite::Error) -> StoreFault {
    let rusqlite::Error::SqliteFailure(failure, _) = error else {
        // A column of another type, or none: the file was not written by this program.
        return StoreFault::Damaged;
    };
    match failure.code {
        ErrorCode::DiskFull => StoreFault::Full,
        // SQLite could not extend the file of the WAL's index: on a full disk this is what fails first.
        ErrorCode::SystemIoFailure if failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE => StoreFault::Full,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreFault::Damaged,
        // A table or column is missing.
        ErrorCode::Unknown => StoreFault::Damaged,
        _ => StoreFault::Unavailable,
    }
}
