//! The consumer with which a stream is followed ([`crate::read::follow`]): how it is created, what its messages mean, and how much the
//! server sends ahead of the reader. It leaves to its user when one is created.

use std::time::Duration;

use async_nats::header::{NATS_LAST_CONSUMER, NATS_LAST_STREAM};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy, push};
use async_nats::{Message, StatusCode, Subscriber, jetstream};
use bytes::Bytes;
use futures_util::StreamExt;
use jiff::Timestamp;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::connect::Bus;
use crate::consume::delivery::Delivery;
use crate::read::messages::{ReadError, ReadMessage};
use crate::read::{StreamState, state};
use crate::schema::streams::{OBSERVER, RECONCILER, StreamDefinition};

/// Interval of the server's signs of life while there are no messages.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Silence after which the consumer is taken for lost, and a new one is created.
const SILENCE_MAX: Duration = HEARTBEAT.saturating_mul(3);
/// How long the server keeps a consumer to whose inbox no client listens.
const CONSUMER_LIFE: Duration = Duration::from_secs(10);
/// Answers to the flow control that one consumer gets. With one the server sends at most 4 MiB ahead of the reader.
const ANSWERS_MAX: usize = 1;
/// Silence after which a consumer that gets no more answers has sent what it may, and a new one is created.
const DRAINED_AFTER: Duration = Duration::from_millis(20);
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

/// One subject of a stream, from a time on.
#[derive(Debug, Clone)]
pub(super) struct FollowedSubject {
    pub(super) filter: String,
    pub(super) since: Timestamp,
}

/// What a consumer is to read.
pub(super) struct Wanted {
    pub(super) stream: &'static StreamDefinition,
    pub(super) options: FollowOptions,
    /// The only subject; `None` for all.
    pub(super) subject: Option<FollowedSubject>,
}

impl Wanted {
    fn deliver_policy(&self) -> Result<DeliverPolicy, ReadError> {
        match &self.subject {
            Some(subject) if self.options.next_sequence == 0 => {
                let since = OffsetDateTime::from_unix_timestamp_nanos(subject.since.as_nanosecond());
                let start_time = since.map_err(|error| ReadError::new(self.stream.name, error))?;
                Ok(DeliverPolicy::ByStartTime { start_time })
            }
            _ => Ok(DeliverPolicy::ByStartSequence { start_sequence: self.options.next_sequence.max(1) }),
        }
    }
}

/// A consumer on the server.
pub(super) struct Consumer {
    inbox: Subscriber,
    /// Its stream, just after it was created.
    pub(super) stream: StreamState,
    /// Number of the messages that came from it. Each has the next number.
    came: u64,
    heard_at: Instant,
    /// The flow control that was answered last, and how many were.
    answered: String,
    answers: usize,
}

/// What a message of the server means for the reader.
pub(super) enum Step {
    Message(ReadMessage),
    /// A sign of life.
    Nothing,
    /// The server waits for the flow control, and every message of the consumer came. There is no message up to this sequence that
    /// did not come.
    Passed(u64),
    /// The same without waiting: there is nothing more to read.
    End(u64),
    /// Messages were lost on their way, or the consumer is gone.
    Lost,
    /// The consumer has sent what it may.
    Drained,
}

/// Creates the consumer. That of a whole stream takes the place of an earlier one.
pub(super) async fn create(bus: Bus, wanted: Wanted) -> Result<Consumer, ReadError> {
    let name = wanted.stream.name;
    let deliver_policy = wanted.deliver_policy()?;
    let deliver_subject = bus.client.new_inbox();
    let inbox = bus.client.subscribe(deliver_subject.clone()).await;
    let inbox = inbox.map_err(|error| ReadError::new(name, error))?;
    let consumer_name = match &wanted.subject {
        // The end of an inbox is random.
        Some(_) => format!("{RECONCILER}-{}", deliver_subject.rsplit('.').next().unwrap_or_default()),
        None => {
            // Where a consumer begins cannot be changed. One of an earlier reader may be left; if not, this fails.
            let _ = bus.jetstream.delete_consumer_from_stream(OBSERVER, name).await;
            OBSERVER.to_owned()
        }
    };
    let config = push::Config {
        name: Some(consumer_name),
        filter_subject: wanted.subject.map(|subject| subject.filter).unwrap_or_default(),
        deliver_subject,
        deliver_policy,
        headers_only: wanted.options.headers_only,
        ack_policy: AckPolicy::None,
        replay_policy: ReplayPolicy::Instant,
        flow_control: true,
        idle_heartbeat: HEARTBEAT,
        inactive_threshold: CONSUMER_LIFE,
        num_replicas: 1,
        memory_storage: true,
        ..push::Config::default()
    };
    let created = bus.jetstream.create_consumer_on_stream(config, name).await;
    created.map_err(|error| ReadError::new(name, error))?;
    // After the consumer: if the stream is deleted in between, the consumer is gone, and this is read again.
    let stream = state(&bus, wanted.stream).await?;
    Ok(Consumer { inbox, stream, came: 0, heard_at: Instant::now(), answered: String::new(), answers: 0 })
}

impl Consumer {
    /// Waits for the next message of the server. It can be canceled while it waits.
    pub(super) async fn step(&mut self, bus: &Bus, connections: &mut watch::Receiver<u64>) -> Step {
        let is_last_window = self.answers > ANSWERS_MAX;
        let silence = if is_last_window { DRAINED_AFTER } else { SILENCE_MAX };
        let silent_at = self.heard_at + silence;
        let message = tokio::select! {
            biased;
            message = self.inbox.next() => message,
            // What was sent between the two connections is lost.
            _ = connections.changed() => return Step::Lost,
            () = tokio::time::sleep_until(silent_at) => {
                return if is_last_window { Step::Drained } else { Step::Lost };
            }
        };
        self.heard_at = Instant::now();
        let Some(message) = message else { return Step::Lost };
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
    async fn take_heartbeat(&mut self, bus: &Bus, message: Message) -> Step {
        let headers = message.headers.unwrap_or_default();
        let stalled = headers.get(STALLED).map(|subject| subject.as_str().to_owned());
        let asked = message.reply.map(|subject| subject.to_string()).or(stalled);
        let is_stalled = asked.is_some();
        if let Some(subject) = asked {
            self.answer(bus, subject).await;
        }
        let number = |name| headers.get(name).and_then(|number| number.as_str().parse::<u64>().ok());
        match (number(NATS_LAST_CONSUMER), number(NATS_LAST_STREAM)) {
            (Some(sent), _) if sent != self.came => Step::Lost,
            (Some(_), Some(passed)) if is_stalled => Step::Passed(passed),
            (Some(_), Some(passed)) => Step::End(passed),
            _ => Step::Nothing,
        }
    }

    /// Answers a flow control, which the server may ask for again, unless the consumer has had its answers.
    async fn answer(&mut self, bus: &Bus, subject: String) {
        if subject != self.answered {
            self.answers += 1;
            self.answered.clone_from(&subject);
        }
        if self.answers <= ANSWERS_MAX {
            // A connection that is lost now is noticed by the next message.
            let _ = bus.client.publish(subject, Bytes::new()).await;
        }
    }
}
