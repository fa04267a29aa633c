//! The right to read a stream, or to erase: one process of those that share a store has it.

use std::any::Any;
use std::fmt;

use tokio_util::sync::CancellationToken;

/// The right to read a stream, or to erase, given back when it is dropped. It saves work and does not protect rows: a batch that two
/// readers store is stored once, and what two erasures remove is removed once.
pub struct Lease {
    /// What gives it back. None for the only process of a store.
    _holder: Option<Box<dyn Any + Send + Sync>>,
    ended: CancellationToken,
    /// Canceled when it is given back.
    free: CancellationToken,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("is_lost", &self.ended.is_cancelled()).finish_non_exhaustive()
    }
}

impl Lease {
    /// The lease of a store that only this process can use. It is never lost.
    pub fn always() -> Self {
        let free = CancellationToken::new();
        free.cancel();
        Self { _holder: None, ended: CancellationToken::new(), free }
    }

    /// A lease until `ended` is canceled. `holder` gives it back when it is dropped, and cancels `free` when that is done.
    pub(crate) fn until(
        holder: Box<dyn Any + Send + Sync>,
        ended: CancellationToken,
        free: CancellationToken,
    ) -> Self {
        Self { _holder: Some(holder), ended, free }
    }

    /// Gives it back, and returns when another process, or this one, can have it.
    pub(crate) async fn give_back(self) {
        let free = self.free.clone();
        drop(self);
        free.cancelled().await;
    }

    /// Returns when another process may have the right. It can be canceled.
    pub async fn lost(&self) {
        self.ended.cancelled().await;
    }
}
