//! Follows a stream with a push consumer ([`crate::read::observer`]) that is not durable: for the timeline, an observer that must not be
//! able to disturb anyone, and for the reconciliation of the sender.
//!
//! The consumer of the timeline is always called `timeline`, because of what such a reader needs to be permitted:
//! `CONSUMER.CREATE.{stream}.timeline` and `CONSUMER.DELETE.{stream}.timeline`, in exactly these words.
//! - A reader whose consumer's name the server chooses ([`crate::read::subscribe`]) needs `CONSUMER.CREATE.{stream}`. The body of such a
//!   request may still have a name, and then the server changes the consumer of that name, a durable too (seen on 2.9.10). If the subject
//!   has the name, the server takes no other from the body.
//! - A consumer that is pulled from needs `CONSUMER.MSG.NEXT`. Its response without a message has no body, and, sent to a
//!   reply subject of the requester's choice, is a JetStream call that needs none, such as the deletion of a stream.
//!
//! So only one process can follow a stream as `timeline`. A second one takes the consumer, and the first takes it back after a silence: both read
//! everything, slowly.
//!
//! [`follow_subject`] reads one subject, in any number of processes, with consumers whose names begin with `reconciler` and end
//! randomly. It needs `CONSUMER.CREATE.{stream}.*.{subject}` and `STREAM.INFO.{stream}`, and deletes nothing: the server removes a
//! consumer without a client.
//! The user of the sender, who may do this, may change more than a consumer by its other rights (SECURITY.md).
//!
//! How much is sent ahead of the reader is bounded by the flow control of NATS. The server begins with 2 MiB and doubles that with
//! each answer, up to 32 MiB, and has no setting for it. So a consumer gets one answer (`ANSWERS_MAX`); what it has sent is read, and
//! a new one continues after it. What the client drops because more messages wait than it holds is a gap, and read again.
//!
//! A stream that was created again, or restored from an older copy, has other messages than those that were read
//! ([`Followed::has_gone_back`]). The server does not say so: from 2.11 on, a consumer that begins after the end of the stream is silent
//! until the stream gets there (nats-server pull request 6253); earlier servers let it begin at the end. So each new consumer begins
//! with the last message that was read, whose time is compared, and so are the stream's time of creation and last sequence. An older
//! copy that has grown past that message is not noticed if the message is no longer stored. What follows from it is left to others.

use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::connect::Bus;
use crate::read::StreamState;
use crate::read::messages::{ReadError, ReadMessage};
pub use crate::read::observer::FollowOptions;
use crate::read::observer::{Consumer, FollowedSubject, Step, Wanted, create};
use crate::schema::streams::StreamDefinition;
use crate::schema::subject::Subject;

/// Pause after a failed attempt to create a consumer.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long a stream may end before a message that was read: the new leader of a cluster may still be applying what it has.
const BEHIND_MAX: Duration = Duration::from_secs(5);

/// The messages of a stream in its order, without end.
pub struct Followed {
    bus: Bus,
    stream: &'static StreamDefinition,
    options: FollowOptions,
    /// The only subject that is read; `None` for all.
    subject: Option<FollowedSubject>,
    connections: watch::Receiver<u64>,
    source: Source,
    passed: u64,
    /// The message that was returned last.
    last: Option<Last>,
    /// When the stream was created, as the first consumer found it.
    created_at: Option<Timestamp>,
    /// Since when the stream ends before `last`.
    behind_since: Option<Instant>,
    has_gone_back: bool,
    retry_at: Instant,
}

/// What identifies a message of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Last {
    sequence: u64,
    stored_at: Timestamp,
}

/// What the stream of a new consumer is to the one that was read before.
enum Found {
    Same,
    /// It ends before a message that was read, and may still be the same.
    Behind,
    Other,
}

/// Where messages come from.
enum Source {
    /// No consumer; one is created at the time of the retry.
    Missing,
    /// One is being created. This goes on when [`Followed::next`] is canceled and called again: creating takes two requests, which
    /// may be longer than the caller waits.
    Creating(BoxFuture<'static, Result<Consumer, ReadError>>),
    Consumer(Consumer),
}

impl std::fmt::Debug for Followed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followed")
            .field("stream", &self.stream.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Starts to follow a stream. The consumer is created by the first [`Followed::next`].
pub fn follow(bus: &Bus, stream: &'static StreamDefinition, options: FollowOptions) -> Followed {
    Followed {
        bus: bus.clone(),
        stream,
        options,
        subject: None,
        connections: bus.connections(),
        source: Source::Missing,
        passed: 0,
        last: None,
        created_at: None,
        behind_since: None,
        has_gone_back: false,
        retry_at: Instant::now(),
    }
}

/// Starts to follow one subject of a stream, from the first message that was stored at `since` or later.
pub fn follow_subject(
    bus: &Bus,
    stream: &'static StreamDefinition,
    subject: &Subject,
    since: Timestamp,
) -> Followed {
    let subject = Some(FollowedSubject { filter: subject.to_text(), since });
    Followed { subject, ..follow(bus, stream, FollowOptions::default()) }
}

impl Followed {
    /// Returns the next message, as soon as there is one. No message is left out or comes twice, even if
    /// connection, server or consumer are lost. It can be canceled.
    ///
    /// # Errors
    /// [`ReadError`] when no consumer can be created, because the stream is missing or the server does not respond. The next call
    /// tries again after a pause. Also when the stream has gone back ([`Followed::has_gone_back`]): it has to be followed again, from where
    /// its user begins.
    pub async fn next(&mut self) -> Result<ReadMessage, ReadError> {
        loop {
            if let Some(read) = self.next_or_end().await? {
                return Ok(read);
            }
            if self.has_gone_back {
                let what = "it was created again, or has gone back to an older state";
                return Err(ReadError::new(self.stream.name, what));
            }
        }
    }

    /// The same as [`Followed::next`], but it returns `None` at a sign of life, which the server sends while there is nothing to read,
    /// and when the stream is found to have gone back.
    ///
    /// # Errors
    /// [`ReadError`] when no consumer can be created. The next call tries again after a pause.
    pub async fn next_or_end(&mut self) -> Result<Option<ReadMessage>, ReadError> {
        loop {
            let consumer = match &mut self.source {
                Source::Consumer(consumer) => consumer,
                Source::Creating(creating) => {
                    let created = creating.await;
                    self.source = Source::Missing;
                    if self.take_consumer(created?) {
                        return Ok(None);
                    }
                    continue;
                }
                Source::Missing => {
                    tokio::time::sleep_until(self.retry_at).await;
                    self.connections.mark_unchanged();
                    self.retry_at = Instant::now() + RETRY_PAUSE;
                    let wanted = self.wanted();
                    self.source = Source::Creating(Box::pin(create(self.bus.clone(), wanted)));
                    continue;
                }
            };
            match consumer.step(&self.bus, &mut self.connections).await {
                Step::Message(read) => {
                    let of_read =
                        Last { sequence: read.delivery.sequence, stored_at: read.delivery.stored_at };
                    match self.last {
                        // The message with which the consumer begins.
                        Some(last) if last == of_read => {}
                        Some(last) if last.sequence >= of_read.sequence => {
                            self.has_gone_back = true;
                            return Ok(None);
                        }
                        _ => {
                            self.last = Some(of_read);
                            return Ok(Some(read));
                        }
                    }
                }
                Step::Nothing => {}
                Step::Passed(sequence) => self.passed = sequence,
                Step::End(sequence) => {
                    self.passed = sequence;
                    return Ok(None);
                }
                Step::Lost => self.source = Source::Missing,
                Step::Drained => {
                    self.source = Source::Missing;
                    // This one did not fail.
                    self.retry_at = Instant::now();
                }
            }
        }
    }

    /// What the next consumer is to read: the last message again, and what follows it.
    fn wanted(&self) -> Wanted {
        let next_sequence = self.last.map_or(self.options.next_sequence, |last| last.sequence);
        let options = FollowOptions { next_sequence, ..self.options };
        Wanted { stream: self.stream, options, subject: self.subject.clone() }
    }

    /// Takes a new consumer, unless its stream may not have all messages yet. Returns whether the stream is found to have gone back.
    fn take_consumer(&mut self, consumer: Consumer) -> bool {
        let found = self.compare(consumer.stream);
        if !matches!(found, Found::Behind) {
            self.source = Source::Consumer(consumer);
        }
        let is_other = matches!(found, Found::Other);
        self.has_gone_back |= is_other;
        is_other
    }

    fn compare(&mut self, found: StreamState) -> Found {
        let created_at = *self.created_at.get_or_insert(found.created_at);
        if created_at != found.created_at {
            return Found::Other;
        }
        let reached = self.last.map_or(self.options.next_sequence.saturating_sub(1), |last| last.sequence);
        if found.last_sequence >= reached {
            self.behind_since = None;
            return Found::Same;
        }
        let since = *self.behind_since.get_or_insert_with(Instant::now);
        if since.elapsed() < BEHIND_MAX { Found::Behind } else { Found::Other }
    }

    /// A sequence up to which the stream held no more messages than [`Self::next`] returned, as the server said last; 0 before it said
    /// so. It says so every two seconds while there are no messages.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether the stream is not the one that was read: it was created again, or ends before a message that was returned, or has another
    /// message in its place. What is returned after that is incomplete.
    pub fn has_gone_back(&self) -> bool {
        self.has_gone_back
    }
}
