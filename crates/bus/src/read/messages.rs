//! The messages that a reader gets, in the order of the stream, and the error of a stream that cannot be read.

use std::time::Duration;

use futures_util::{Stream, StreamExt};

use crate::consume::delivery::Delivery;

/// Timeout of each message while all stored messages are read.
const SILENCE_MAX: Duration = Duration::from_secs(10);

type Source = Box<dyn std::error::Error + Send + Sync>;

/// The stream could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read stream {stream}")]
pub struct ReadError {
    stream: &'static str,
    #[source]
    source: Source,
}

impl ReadError {
    pub(crate) fn new(stream: &'static str, source: impl Into<Source>) -> Self {
        Self { stream, source: source.into() }
    }
}

/// A message, and the number of the reader's messages after it at this moment.
#[derive(Debug)]
pub struct ReadMessage {
    /// The message.
    pub delivery: Delivery,
    /// Messages after it; 0 at the end of what is stored.
    pub pending: u64,
}

/// The messages of a subject filter, in the stream's order, without end.
pub struct Messages {
    inner: std::pin::Pin<Box<dyn Stream<Item = Result<ReadMessage, ReadError>> + Send>>,
    stream: &'static str,
    pending: u64,
    /// The newest message of the stream when reading began.
    last: u64,
    is_over: bool,
}

impl std::fmt::Debug for Messages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Messages").field("pending", &self.pending).finish_non_exhaustive()
    }
}

impl Messages {
    pub(crate) fn new(
        inner: impl Stream<Item = Result<ReadMessage, ReadError>> + Send + 'static,
        stream: &'static str,
        pending: u64,
        last: u64,
    ) -> Self {
        Self { inner: Box::pin(inner), stream, pending, last, is_over: pending == 0 }
    }

    /// The sequence of the newest message of the stream when reading began.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Number of messages that were stored when reading began.
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Returns the next one of those that were stored when reading began; `None` after the last. It does not wait for
    /// messages that are purged in between.
    ///
    /// # Errors
    /// [`ReadError`], also when the server stops responding.
    pub async fn next_stored(&mut self) -> Result<Option<Delivery>, ReadError> {
        if self.is_over {
            return Ok(None);
        }
        let silent = || ReadError::new(self.stream, "timed out waiting for the next message");
        let next = tokio::time::timeout(SILENCE_MAX, self.inner.next()).await.map_err(|_| silent())?;
        let Some(read) = next.transpose()? else { return Ok(None) };
        self.is_over = read.pending == 0 || read.delivery.sequence >= self.last;
        // Later messages do not belong to them.
        Ok((read.delivery.sequence <= self.last).then_some(read.delivery))
    }

    /// Returns the next message, as soon as there is one.
    pub async fn next(&mut self) -> Option<Result<ReadMessage, ReadError>> {
        self.inner.next().await
    }
}
