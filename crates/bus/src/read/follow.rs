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
//! A stream that was created again has another time of creation, which [`follow_subject`] compares with each new consumer
//! ([`Followed::has_gone_back`]). What follows from it is left to others, and [`follow`] leaves to its user to notice it. A stream that
//! was restored from an older copy keeps its time: it is noticed while it has fewer messages than were read.

use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::connect::Bus;
use crate::read::messages::{ReadError, ReadMessage};
pub use crate::read::observer::FollowOptions;
use crate::read::observer::{Consumer, FollowedSubject, Step, Wanted, create};
use crate::schema::streams::StreamDefinition;
use crate::schema::subject::Subject;

/// Pause after a failed attempt to create a consumer.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

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
    /// When the stream was created, as the last consumer found it; `None` where that is not read.
    created_at: Option<Timestamp>,
    /// Whether a consumer found another time.
    was_created_again: bool,
    retry_at: Instant,
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
        created_at: None,
        was_created_again: false,
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
    /// tries again after a pause.
    pub async fn next(&mut self) -> Result<ReadMessage, ReadError> {
        loop {
            if let Some(read) = self.next_or_end().await? {
                return Ok(read);
            }
        }
    }

    /// The same as [`Followed::next`], but it returns `None` at a sign of life, which the server sends while there is nothing to read,
    /// and when the stream is found to have been created again.
    ///
    /// # Errors
    /// As [`Followed::next`].
    pub async fn next_or_end(&mut self) -> Result<Option<ReadMessage>, ReadError> {
        loop {
            let consumer = match &mut self.source {
                Source::Consumer(consumer) => consumer,
                Source::Creating(creating) => {
                    let created = creating.await;
                    self.source = Source::Missing;
                    if self.is_of_other_stream(created?) {
                        return Ok(None);
                    }
                    continue;
                }
                Source::Missing => {
                    tokio::time::sleep_until(self.retry_at).await;
                    self.connections.mark_unchanged();
                    self.retry_at = Instant::now() + RETRY_PAUSE;
                    let wanted =
                        Wanted { stream: self.stream, options: self.options, subject: self.subject.clone() };
                    self.source = Source::Creating(Box::pin(create(self.bus.clone(), wanted)));
                    continue;
                }
            };
            match consumer.step(&self.bus, &mut self.connections).await {
                Step::Message(read) => {
                    self.options.next_sequence = read.delivery.sequence + 1;
                    return Ok(Some(read));
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

    /// Takes a new consumer. Returns whether its stream is not the one that was read before.
    fn is_of_other_stream(&mut self, consumer: Consumer) -> bool {
        let found_at = consumer.stream_created_at;
        let is_other = self.created_at.is_some() && self.created_at != found_at;
        self.created_at = found_at;
        self.was_created_again |= is_other;
        self.source = Source::Consumer(consumer);
        is_other
    }

    /// A sequence up to which the stream held no more messages than [`Self::next`] returned, as the server said last; 0 before it said
    /// so. It says so every two seconds while there are no messages.
    pub fn passed(&self) -> u64 {
        self.passed
    }

    /// Whether messages of the stream are not read because it was created again, when [`Self::next_or_end`] returned `None` now: it ended
    /// before a message that was returned, or, with [`follow_subject`], its time of creation is another one.
    pub fn has_gone_back(&self) -> bool {
        self.was_created_again || self.passed + 1 < self.options.next_sequence
    }
}
