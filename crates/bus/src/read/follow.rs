//! Follows a stream for an observer that must not be able to disturb anyone: the timeline.
//!
//! It reads with a push consumer that is always called [`OBSERVER`] and is not durable, because of what such a reader needs to be
//! permitted: `CONSUMER.CREATE.{stream}.timeline` and `CONSUMER.DELETE.{stream}.timeline`, in exactly these words.
//! - A reader whose consumer's name the server chooses ([`crate::read::subscribe`]) needs `CONSUMER.CREATE.{stream}`. The body of such a
//!   request may still have a name, and then the server changes the consumer of that name, a durable too (seen on 2.9.10). If the subject
//!   has the name, the server takes no other from the body.
//! - A consumer that is pulled from needs `CONSUMER.MSG.NEXT`. Its response without a message has no body, and, sent to a
//!   reply subject of the requester's choice, is a JetStream call that needs none, such as the deletion of a stream.
//!
//! So only one process can follow a stream. A second one takes the consumer, and the first takes it back after a silence: both read
//! everything, slowly.
//!
//! How much is sent ahead of the reader is bounded by the flow control of NATS: 2 MiB at first, at most 32 MiB. What
//! the client drops because more messages wait than it holds is a gap, and read again.
//!
//! It leaves to others to notice that a stream was made again: its sequences are then lower than the ones asked for.

use std::time::Duration;

use async_nats::header::NATS_LAST_CONSUMER;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, push};
use async_nats::{Message, StatusCode, Subscriber, jetstream};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::connect::Bus;
use crate::consume::delivery::Delivery;
use crate::read::messages::{ReadError, ReadMessage};
use crate::schema::streams::{OBSERVER, StreamDefinition};

/// Interval of the server's signs of life while there are no messages.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Silence after which the consumer is taken for lost, and a new one is created.
const SILENCE_MAX: Duration = HEARTBEAT.saturating_mul(3);
/// How long the server keeps a consumer to whose inbox no client listens.
const CONSUMER_LIFE: Duration = Duration::from_secs(10);
/// Pause after a failed attempt to create a consumer.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// Header of a sign of life when the server waits for an answer of the flow control: the subject of that answer.
const STALLED: &str = "Nats-Consumer-Stalled";

/// What is read of a stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct FollowOptions {
    /// Whether only subjects and headers are read, without payloads.
    pub headers_only: bool,
    /// The first sequence that is wanted. Below the oldest message, reading begins with that one.
    pub next_sequence: u64,
}

/// The messages of a stream in its order, without end.
#[derive(Debug)]
pub struct Followed {
    bus: Bus,
    stream: &'static StreamDefinition,
    options: FollowOptions,
    connections: watch::Receiver<u64>,
    consumer: Option<Consumer>,
    retry_at: Instant,
}

/// A consumer on the server.
#[derive(Debug)]
struct Consumer {
    inbox: Subscriber,
    /// Number of the messages that came from it. Each has the next number.
    came: u64,
    heard_at: Instant,
}

/// What a message of the server means for the reader.
enum Step {
    Message(ReadMessage),
    /// A sign of life.
    Nothing,
    /// Messages were lost on their way, or the consumer is gone.
    Lost,
}

/// Starts to follow a stream. The consumer is created by the first [`Followed::next`].
pub fn follow(bus: &Bus, stream: &'static StreamDefinition, options: FollowOptions) -> Followed {
    Followed {
        bus: bus.clone(),
        stream,
        options,
        connections: bus.connections(),
        consumer: None,
        retry_at: Instant::now(),
    }
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
            let Some(consumer) = &mut self.consumer else {
                tokio::time::sleep_until(self.retry_at).await;
                self.connections.mark_unchanged();
                self.retry_at = Instant::now() + RETRY_PAUSE;
                self.consumer = Some(self.create().await?);
                continue;
            };
            let silent_at = consumer.heard_at + SILENCE_MAX;
            let message = tokio::select! {
                biased;
                message = consumer.inbox.next() => message,
                // What was sent between the two connections is lost.
                _ = self.connections.changed() => None,
                () = tokio::time::sleep_until(silent_at) => None,
            };
            let step = match message {
                Some(message) => consumer.take(&self.bus, message).await,
                None => Step::Lost,
            };
            match step {
                Step::Message(read) => {
                    self.options.next_sequence = read.delivery.sequence + 1;
                    return Ok(read);
                }
                Step::Nothing => {}
                Step::Lost => self.consumer = None,
            }
        }
    }

    async fn create(&self) -> Result<Consumer, ReadError> {
        let name = self.stream.name;
        let deliver_subject = self.bus.client.new_inbox();
        let inbox = self.bus.client.subscribe(deliver_subject.clone()).await;
        let inbox = inbox.map_err(|error| ReadError::new(name, error))?;
        // Where a consumer begins cannot be changed. One of an earlier reader may be left; if not, this fails.
        let _ = self.bus.jetstream.delete_consumer_from_stream(OBSERVER, name).await;
        let config = push::Config {
            name: Some(OBSERVER.to_owned()),
            deliver_subject,
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.options.next_sequence.max(1),
            },
            headers_only: self.options.headers_only,
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            flow_control: true,
            idle_heartbeat: HEARTBEAT,
            inactive_threshold: CONSUMER_LIFE,
            num_replicas: 1,
            memory_storage: true,
            ..push::Config::default()
        };
        let created = self.bus.jetstream.create_consumer_on_stream(config, name).await;
        created.map_err(|error| ReadError::new(name, error))?;
        Ok(Consumer { inbox, came: 0, heard_at: Instant::now() })
    }
}

impl Consumer {
    async fn take(&mut self, bus: &Bus, message: Message) -> Step {
        self.heard_at = Instant::now();
        match message.status {
            None => self.take_stored(bus, message),
            Some(StatusCode::IDLE_HEARTBEAT) => self.take_heartbeat(bus, message).await,
            Some(_) => Step::Lost,
        }
    }

    fn take_stored(&mut self, bus: &Bus, message: Message) -> Step {
        let message = jetstream::Message { message, context: bus.jetstream.clone() };
        let Ok((number, pending)) = message.info().map(|info| (info.consumer_sequence, info.pending)) else {
            return Step::Nothing;
        };
        if number != self.came + 1 {
            return Step::Lost;
        }
        self.came = number;
        Delivery::split(message)
            .map_or(Step::Nothing, |(delivery, _)| Step::Message(ReadMessage { delivery, pending }))
    }

    /// Answers the flow control, and compares what was sent with what came.
    async fn take_heartbeat(&self, bus: &Bus, message: Message) -> Step {
        let headers = message.headers.unwrap_or_default();
        let stalled = headers.get(STALLED).map(|subject| subject.as_str().to_owned());
        if let Some(subject) = message.reply.map(|subject| subject.to_string()).or(stalled) {
            // A connection that is lost now is noticed by the next message.
            let _ = bus.client.publish(subject, Bytes::new()).await;
        }
        let sent = headers.get(NATS_LAST_CONSUMER).and_then(|number| number.as_str().parse().ok());
        if sent.is_some_and(|sent: u64| sent != self.came) { Step::Lost } else { Step::Nothing }
    }
}
