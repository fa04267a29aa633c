//! Reply subjects of publishes that are used again. nats-server caches where a subject goes, so an acknowledgement to a subject that it
//! knows takes it less CPU time than one to a new subject, which the client library makes for each publish.
//!
//! An answer on a subject that was used before must not be taken for that of another message, so a subject is used again only after a
//! plain acknowledgement on the same connection. Two leaders, an old and a new one, may both acknowledge a message: the second answer has
//! a sequence that was recorded before the next message took the subject, which tells it from that message's own. After any other answer
//! (a duplicate, an error) or none, the subject is never used again, and the message is stored under a new one.
//! Only messages with an id can be stored twice, so others never use these subjects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::jetstream::publish::PublishAck;
use async_nats::{Client, Message, StatusCode, Subject};
use futures_util::StreamExt;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::schema::stream_id::StreamId;
use crate::state::gathering::Outgoing;

/// Reply subjects of a connection that are used at the same time; further publishes use new ones. nats-server caches 512 for each stream
/// (`maxResultCacheSize` in its `server/client.go`, 2.15.3).
const SUBJECTS: usize = 64 * WORDS;
/// Words of the set of free subjects.
const WORDS: usize = 7;

/// The reply subjects of a connection.
#[derive(Debug)]
pub(crate) struct ReplySubjects {
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    /// Free subjects, a bit each. The lowest is taken first, so that few are in use.
    free: [AtomicU64; WORDS],
    slots: Vec<Mutex<Slot>>,
    prefix: String,
}

#[derive(Debug)]
struct Slot {
    subject: Subject,
    /// How many subjects this place had before.
    number: u64,
    /// The connection on which the subject was last used.
    connection: u64,
    waiting: Option<oneshot::Sender<Message>>,
}

impl ReplySubjects {
    /// Subscribes, and reads the answers until it is dropped.
    pub(crate) async fn subscribe(client: &Client) -> Result<Self, async_nats::SubscribeError> {
        let prefix = client.new_inbox();
        let mut answers = client.subscribe(format!("{prefix}.*.*")).await?;
        let slots = (0..SUBJECTS).map(|place| Mutex::new(Slot::new(&prefix, place))).collect();
        let free = std::array::from_fn(|_| AtomicU64::new(u64::MAX));
        let shared = Arc::new(Shared { free, slots, prefix });
        let of_reader = Arc::clone(&shared);
        let reader = tokio::spawn(async move {
            while let Some(answer) = answers.next().await {
                of_reader.deliver(answer);
            }
        });
        Ok(Self { shared, reader })
    }

    /// Takes a subject for a message of a connection; `None` if all are in use.
    pub(crate) fn take(&self, connection: u64) -> Option<Reply<'_>> {
        let place = self.shared.take_place()?;
        let (sender, answer) = oneshot::channel();
        let mut slot = self.shared.slot(place);
        if slot.connection != connection {
            slot.replace(&self.shared.prefix, place);
            slot.connection = connection;
        }
        slot.waiting = Some(sender);
        let subject = slot.subject.clone();
        drop(slot);
        Some(Reply { of: &self.shared, place, subject, answer, is_acknowledged: false })
    }
}

impl Drop for ReplySubjects {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Shared {
    fn slot(&self, place: usize) -> MutexGuard<'_, Slot> {
        self.slots[place].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_place(&self) -> Option<usize> {
        for (number, word) in self.free.iter().enumerate() {
            let mut free = word.load(Ordering::Acquire);
            while free != 0 {
                let bit = free.trailing_zeros();
                let left = free & !(1 << bit);
                match word.compare_exchange_weak(free, left, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => return Some(number * 64 + bit as usize),
                    Err(now) => free = now,
                }
            }
        }
        None
    }

    fn give_back(&self, place: usize) {
        self.free[place / 64].fetch_or(1 << (place % 64), Ordering::AcqRel);
    }

    /// Hands an answer to the publish that waits for it. One on a subject that is no longer used is dropped.
    fn deliver(&self, answer: Message) {
        let Some(place) = self.place_of(&answer.subject) else { return };
        let mut slot = self.slot(place);
        let waiting = if slot.subject == answer.subject { slot.waiting.take() } else { None };
        drop(slot);
        if let Some(waiting) = waiting {
            // The publish may have been given up.
            let _ = waiting.send(answer);
        }
    }

    fn place_of(&self, subject: &str) -> Option<usize> {
        let rest = subject.strip_prefix(self.prefix.as_str())?.strip_prefix('.')?;
        let place = rest.split_once('.')?.0.parse().ok()?;
        (place < SUBJECTS).then_some(place)
    }
}

impl Slot {
    fn new(prefix: &str, place: usize) -> Self {
        Self { subject: format!("{prefix}.{place}.0").into(), number: 0, connection: 0, waiting: None }
    }

    fn replace(&mut self, prefix: &str, place: usize) {
        self.number += 1;
        self.subject = format!("{prefix}.{place}.{}", self.number).into();
        self.waiting = None;
    }
}

/// A subject on which the answer to one message comes.
#[derive(Debug)]
pub(crate) struct Reply<'r> {
    of: &'r Shared,
    place: usize,
    subject: Subject,
    answer: oneshot::Receiver<Message>,
    is_acknowledged: bool,
}

impl Reply<'_> {
    /// Publishes a message and waits for a plain acknowledgement of this stream, whose sequence is returned. It is that of this message only if
    /// it is above the highest one that was recorded when this subject had been taken. `None` after any other answer.
    pub(crate) async fn publish(
        &mut self,
        client: &Client,
        message: Outgoing,
        stream: StreamId,
    ) -> Result<Option<u64>, async_nats::PublishError> {
        let Outgoing { subject, headers, payload } = message;
        client.publish_with_reply_and_headers(subject, self.subject.clone(), headers, payload).await?;
        let Ok(answer) = (&mut self.answer).await else { return Ok(None) };
        Ok(plain(&answer, stream))
    }

    /// Gives the subject back for another message, once the sequence of this one is recorded.
    pub(crate) fn reuse(mut self) {
        self.is_acknowledged = true;
    }
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        if !self.is_acknowledged {
            self.of.slot(self.place).replace(&self.of.prefix, self.place);
        }
        self.of.give_back(self.place);
    }
}

/// The sequence of an acknowledgement that says no more than that the message was stored in this stream. An error has the sequence 0.
fn plain(answer: &Message, stream: StreamId) -> Option<u64> {
    if answer.status.is_some_and(|status| status != StatusCode::OK) {
        return None;
    }
    let ack: PublishAck = serde_json::from_slice(&answer.payload).ok()?;
    (!ack.duplicate && ack.stream == stream.name()).then_some(ack.sequence)
}
