//! What an error of PostgreSQL means for the caller: try again, make room, or see to the database.

use std::error::Error as _;
use std::io;

use tokio_postgres::error::SqlState;

use crate::store::error::{StoreError, StoreFault};

/// Classes of SQLSTATE for wrong data and damaged files.
const DAMAGED: [&str; 3] = ["22", "23", "XX"];
/// Classes of SQLSTATE for a wrong user, password or database, and for statements that the server does not accept.
const REFUSED: [&str; 3] = ["28", "3D", "42"];

impl From<tokio_postgres::Error> for StoreError {
    fn from(error: tokio_postgres::Error) -> Self {
        let fault = fault(&error);
        let text = match fault {
            StoreFault::Full => {
                "PostgreSQL has no room for the timeline; free space on its disk, or shorten the retention"
            }
            StoreFault::Damaged => {
                "PostgreSQL cannot store or read rows of the timeline; check its log and the schema imchannel_timeline"
            }
            StoreFault::Refused => {
                "PostgreSQL refuses the timeline; check the user, the password, the database and the certificate of \
                 IMCHANNEL_TIMELINE_URL, and the user's rights to the schema imchannel_timeline"
            }
            StoreFault::Unavailable => {
                "PostgreSQL does not answer the timeline now; check IMCHANNEL_TIMELINE_URL, the server and its log"
            }
        };
        Self::new(fault, text, Some(Box::new(error)))
    }
}

fn fault(error: &tokio_postgres::Error) -> StoreFault {
    let is_in =
        |classes: [&str; 3], code: &SqlState| classes.iter().any(|class| code.code().starts_with(class));
    match error.code() {
        None if is_certificate_refused(error) => StoreFault::Refused,
        // The connection failed or ended.
        None => StoreFault::Unavailable,
        Some(code) if *code == SqlState::DISK_FULL => StoreFault::Full,
        Some(code) if is_in(DAMAGED, code) => StoreFault::Damaged,
        Some(code) if is_in(REFUSED, code) => StoreFault::Refused,
        Some(_) => StoreFault::Unavailable,
    }
}

fn is_certificate_refused(error: &tokio_postgres::Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    let inner = source.and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

/// The error of a value that this program did not store.
pub(super) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    let text = "a row of the timeline in PostgreSQL cannot be read; it was changed by another program";
    StoreError::new(StoreFault::Damaged, text, Some(Box::new(error)))
}
