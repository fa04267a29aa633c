//! The right to read a stream: one process of those that share a store has it.

use std::any::Any;
use std::fmt;

use tokio_util::sync::CancellationToken;

/// The right to read a stream, given back when it is dropped. It saves work and does not protect rows: a batch that two
/// readers store is stored once.
pub struct Lease {
    /// What gives it back. None for the only process of a store.
    _holder: Option<Box<dyn Any + Send + Sync>>,
    ended: CancellationToken,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("is_lost", &self.ended.is_cancelled()).finish_non_exhaustive()
    }
}

impl Lease {
    /// The lease of a store that only this process can use. It is never lost.
    pub fn always() -> Self {
        Self { _holder: None, ended: CancellationToken::new() }
    }

    /// A lease until `ended` is canceled. `holder` gives it back when it is dropped.
    pub(crate) fn until(holder: Box<dyn Any + Send + Sync>, ended: CancellationToken) -> Self {
        Self { _holder: Some(holder), ended }
    }

    /// Returns when another process may have the right. It can be canceled.
    pub async fn lost(&self) {
        self.ended.cancelled().await;
    }
}
