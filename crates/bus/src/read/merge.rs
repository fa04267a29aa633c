//! Merges several readers of one stream, for filters that one consumer of nats-server 2.9 cannot have together.

use std::time::Duration;

use futures_util::future::select_all;
use futures_util::stream::unfold;

use crate::read::messages::{Messages, ReadError, ReadMessage};

/// Timeout of the wait for a reader that reported more stored messages: they may be purged in the meantime.
const ORDER_WAIT: Duration = Duration::from_secs(1);

/// Returns the messages of all readers: in the order of the stream while all of them have stored messages, and then as
/// they come. [`ReadMessage::pending`] is the sum of all readers.
pub(crate) fn merged(stream: &'static str, readers: Vec<Messages>) -> Messages {
    let pending = readers.iter().map(Messages::pending).sum();
    let last = readers.iter().map(Messages::last).max().unwrap_or_default();
    let sources = readers.into_iter().map(|messages| {
        let left = messages.pending();
        Source { messages, left, head: None }
    });
    let merge = Merge { sources: sources.collect() };
    let inner = unfold(merge, |mut merge| async move {
        let next = merge.next().await?;
        Some((next, merge))
    });
    Messages::new(inner, stream, pending, last)
}

/// One reader.
struct Source {
    messages: Messages,
    /// Its next message, if it has arrived before its turn.
    head: Option<ReadMessage>,
    /// Number of its messages after the head.
    left: u64,
}

struct Merge {
    sources: Vec<Source>,
}

impl Merge {
    async fn next(&mut self) -> Option<Result<ReadMessage, ReadError>> {
        // The first message is only known when the next one of each reader is.
        for source in &mut self.sources {
            if let Some(error) = source.fill().await {
                return Some(Err(error));
            }
        }
        let first = self.sources.iter_mut().filter(|source| source.head.is_some());
        let first = first.min_by_key(|source| source.head.as_ref().map(|read| read.delivery.sequence));
        let read = match first.and_then(|source| source.head.take()) {
            Some(read) => read,
            None => match self.whichever_comes().await? {
                Ok(read) => read,
                Err(error) => return Some(Err(error)),
            },
        };
        let pending = self.sources.iter().map(|source| source.left + u64::from(source.head.is_some())).sum();
        Some(Ok(ReadMessage { pending, ..read }))
    }

    /// Returns the next message of any reader; `None` if one has ended.
    async fn whichever_comes(&mut self) -> Option<Result<ReadMessage, ReadError>> {
        let waiting = self.sources.iter_mut().map(|source| Box::pin(source.messages.next()));
        let (next, place, _) = select_all(waiting).await;
        if let Some(Ok(read)) = &next {
            self.sources[place].left = read.pending;
        }
        next
    }
}

impl Source {
    /// Reads its next message if one is stored. Returns the error, if any.
    async fn fill(&mut self) -> Option<ReadError> {
        if self.head.is_some() || self.left == 0 {
            return None;
        }
        match tokio::time::timeout(ORDER_WAIT, self.messages.next()).await {
            Ok(Some(Ok(read))) => {
                self.left = read.pending;
                self.head = Some(read);
                None
            }
            Ok(Some(Err(error))) => Some(error),
            Ok(None) | Err(_) => {
                self.left = 0;
                None
            }
        }
    }
}
