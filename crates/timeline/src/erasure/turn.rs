//! Which process erases, of those that share a store. A store that only this process can use is always its own.
//!
//! The right is a lock of the store, which the store frees when the process that has it is gone. It is not what makes an erasure safe: two
//! that run at the same time remove what is there once, but each would count only a part.

use crate::store::{Lease, Store, StoreError};

/// What an erasure waits for that has not the right to erase.
pub(super) const WAITS: &str = "another timeline of the database, which runs an erasure";
/// Why an erasure stops that has lost the right to erase.
pub(super) const LOST: &str = "the connection to PostgreSQL with the lock of the erasure ended; it goes on when this timeline has the lock again";

/// Takes the right to erase; `None` while a process has it.
pub(super) async fn take(store: &dyn Store) -> Result<Option<Lease>, StoreError> {
    match store.shared() {
        Some(shared) => shared.erasing().await,
        None => Ok(Some(Lease::always())),
    }
}
