//! Advisory locks of the database: who makes the schema, who writes, who reads a stream, and who erases.

use tokio_postgres::{Client, Transaction};

use crate::row::StreamNumber;
use crate::store::error::StoreError;

/// First number of every lock of the timeline: `imTL`.
const CLASS: i32 = 0x696d_544c;

/// What is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lock {
    /// Reading a stream.
    Stream(StreamNumber),
    /// Writing rows and partitions. A report and the command that expects it come from two readers: if their
    /// transactions ran at the same time, neither would see the other.
    Write,
    /// Making the schema.
    Schema,
    /// Erasing a customer.
    Erasure,
}

impl Lock {
    fn number(self) -> i32 {
        match self {
            Self::Stream(stream) => i32::from(stream as u8),
            Self::Write => 1000,
            Self::Schema => 1001,
            Self::Erasure => 1002,
        }
    }
}

/// Waits for a lock, which the transaction has until its end.
pub(super) async fn wait(transaction: &Transaction<'_>, lock: Lock) -> Result<(), StoreError> {
    transaction.execute("SELECT pg_advisory_xact_lock($1, $2)", &[&CLASS, &lock.number()]).await?;
    Ok(())
}

/// Takes a lock, if it is free, until it is given back or the connection ends.
pub(super) async fn take(client: &Client, lock: Lock) -> Result<bool, StoreError> {
    let row = client.query_one("SELECT pg_try_advisory_lock($1, $2)", &[&CLASS, &lock.number()]).await?;
    Ok(row.try_get(0)?)
}

/// Gives back a lock that [`take`] took.
pub(super) async fn give_back(client: &Client, lock: Lock) -> Result<(), StoreError> {
    client.execute("SELECT pg_advisory_unlock($1, $2)", &[&CLASS, &lock.number()]).await?;
    Ok(())
}
