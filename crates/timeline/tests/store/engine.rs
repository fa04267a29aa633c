//! An engine under test.

use futures_util::future::BoxFuture;
use timeline::store::Store;

/// Makes stores of one engine over one place.
pub(crate) trait Engine: Send + Sync {
    /// Opens the store; what was stored there before is in it. The store that was open before is closed.
    fn open(&self) -> BoxFuture<'_, Box<dyn Store>>;

    /// The store as it is after its process was killed at this moment.
    fn killed(&self) -> BoxFuture<'_, Box<dyn Store>>;
}
