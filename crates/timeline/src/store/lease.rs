//! The right to read a stream: one process of those that share a store has it.

use std::any::Any;
use std::fmt;

use tokio::sync::oneshot;

/// The right to read a stream, given back when it is dropped. It saves work and does not protect rows: a batch that two
/// readers store is stored once.
pub struct Lease {
    /// What holds it; `None` for a store that only this process can use.
    held: Option<(Box<dyn Any + Send + Sync>, oneshot::Receiver<()>)>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("may_be_lost", &self.held.is_some()).finish()
    }
}

impl Lease {
    /// The lease of a store that only this process can use.
    pub fn always() -> Self {
        Self { held: None }
    }

    /// A lease that `holder` has until `ended` is notified or closed.
    pub(crate) fn until(holder: Box<dyn Any + Send + Sync>, ended: oneshot::Receiver<()>) -> Self {
        Self { held: Some((holder, ended)) }
    }

    /// Returns when another process may have the right; never for [`Self::always`].
    pub async fn lost(&mut self) {
        match &mut self.held {
            Some((_, ended)) => {
                let _ = ended.await;
            }
            None => std::future::pending().await,
        }
    }
}
