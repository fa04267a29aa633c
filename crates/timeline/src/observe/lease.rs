//! Who reads a stream. Of the processes that share a store one has the right, and publishes how far it reads. The others follow it:
//! they answer up to the time that it has read, show its new rows to those who follow the live view, and take over when it is gone.
//!
//! A store that only this process can use is always read by it.

use std::sync::Arc;
use std::time::Duration;

use crate::observe::{Observer, Shared};
use crate::row::StreamNumber;
use crate::store::{Lease, SharedStore, StoreError};

/// Interval of asking for the right to read, and of publishing and following how far a stream is read.
const INTERVAL: Duration = Duration::from_secs(1);
/// Most new rows of another process that are shown at a time. Older ones are left out.
const SHOWN_ROWS_MAX: usize = 512;

/// The part of this process in reading one stream.
pub(super) struct Turn {
    stream: StreamNumber,
    observer: Observer,
    shared: Shared,
    /// The last sequence whose rows were shown here; `None` before it is known.
    shown: Option<u64>,
    /// The sequence up to which another process had read when it was asked for last.
    followed: Option<u64>,
    /// Whether this process read the stream last.
    is_reader: bool,
}

impl Turn {
    pub(super) fn new(stream: StreamNumber, observer: Observer, shared: Shared) -> Self {
        Self { stream, observer, shared, shown: None, followed: None, is_reader: false }
    }

    /// Asks for the right to read the stream, and again after each [`INTERVAL`] in which it follows the process that has it.
    /// Returns `None` once it has followed.
    pub(super) async fn take(&mut self) -> Result<Option<Lease>, StoreError> {
        let engine = Arc::clone(&self.observer.store);
        let Some(store) = engine.shared() else { return Ok(Some(Lease::always())) };
        if let Some(lease) = store.lease(self.stream).await? {
            if !self.is_reader {
                // What was stored by the other process and not shown here yet.
                self.show_rows(store).await?;
                let name = self.stream.name();
                tracing::info!(function = "timeline", "reads {name}: no other timeline of the database does");
            }
            self.is_reader = true;
            return Ok(Some(lease));
        }
        if std::mem::take(&mut self.is_reader) {
            self.shown = Some(self.shared.progress.borrow().of(self.stream).sequence);
        }
        if let Some(published) = store.published(self.stream).await? {
            // The stream was created again.
            if self.followed > Some(published.sequence) {
                self.shown = None;
            }
            self.followed = Some(published.sequence);
            self.show_rows(store).await?;
            self.shown.get_or_insert(published.sequence);
            self.shared.progress.send_modify(|progress| {
                let of = progress.of_mut(self.stream);
                of.read_until = of.read_until.max(published.read_until);
                of.sequence = published.sequence;
                of.behind = published.behind;
            });
        }
        tokio::time::sleep(INTERVAL).await;
        Ok(None)
    }

    /// Publishes how far the stream is read, until the right to read it is lost.
    pub(super) async fn keep(&self, lease: &Lease) {
        let Some(store) = self.observer.store.shared() else { return lease.lost().await };
        let mut published = None;
        loop {
            let current = *self.shared.progress.borrow().of(self.stream);
            if published != Some(current) {
                match store.publish(current).await {
                    Ok(()) => published = Some(current),
                    // The reader, which stores more, logs it.
                    Err(error) => self.observer.metrics.store_failed(error.fault()),
                }
            }
            tokio::select! {
                () = lease.lost() => return,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    /// Shows the rows that another process has stored since the last time, and learns from results how long the lanes take.
    async fn show_rows(&mut self, store: &dyn SharedStore) -> Result<(), StoreError> {
        let Some(after) = self.shown else { return Ok(()) };
        if self.stream != StreamNumber::Events && self.shared.live.receiver_count() == 0 {
            self.shown = None;
            return Ok(());
        }
        let rows = store.rows_after(self.stream, after, SHOWN_ROWS_MAX).await?;
        if self.stream == StreamNumber::Events {
            self.shared.lanes.observe_stored(&*self.observer.store, &rows).await?;
        }
        for row in rows {
            self.shown = self.shown.max(Some(row.pointer.sequence));
            // Without a reader of new rows there is nothing to do.
            let _ = self.shared.live.send(Arc::new(row));
        }
        Ok(())
    }
}
