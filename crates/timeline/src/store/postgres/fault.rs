//! What an error of PostgreSQL means for the caller: try again, make room, or see to the database.

use tokio_postgres::error::SqlState;

use crate::store::error::{StoreError, StoreFault};

/// Classes of SQLSTATE that another try does not change: wrong data, wrong schema or permissions, damaged files.
const DAMAGED: [&str; 4] = ["22", "23", "42", "XX"];

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let fault = fault(&error);
        let text = match fault {
            StoreFault::Full => {
                "PostgreSQL has no room for the timeline; free space on its disk, or shorten the retention"
            }
            StoreFault::Damaged => {
                "PostgreSQL refused a statement of the timeline; check the database's schema imchannel_timeline and the \
                 permissions of the user in IMCHANNEL_TIMELINE_URL"
            }
            StoreFault::Unavailable => {
                "PostgreSQL does not answer the timeline now; check IMCHANNEL_TIMELINE_URL, the server and its log"
            }
        };
        Self::new(fault, text, Some(Box::new(error)))
    }
}

fn fault(error: &tokio_postgres::Error) -> StoreFault {
    match error.code() {
        // The connection failed or ended.
        None => StoreFault::Unavailable,
        Some(code) if *code == SqlState::DISK_FULL => StoreFault::Full,
        Some(code) if DAMAGED.iter().any(|class| code.code().starts_with(class)) => StoreFault::Damaged,
        Some(_) => StoreFault::Unavailable,
    }
}

/// The error of a value that this program did not store.
pub(super) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    let text = "a row of the timeline in PostgreSQL cannot be read; it was changed by another program";
    StoreError::new(StoreFault::Damaged, text, Some(Box::new(error)))
}
