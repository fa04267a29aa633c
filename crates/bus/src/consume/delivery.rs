//! A delivered message, and the verdict of its handler.

use std::borrow::Cow;

use async_nats::jetstream::Message;
use async_nats::jetstream::message::{Acker, StreamMessage};
use bytes::Bytes;
use jiff::Timestamp;

use crate::schema::headers::Headers;
use crate::schema::subject::Subject;
use crate::schema::timestamps::to_timestamp;

/// What the worker does with a message after its handler returned.
#[derive(Debug)]
pub enum Disposition {
    /// Ack: everything that the message asked for is stored.
    Done,
    /// Nak with a delay that grows with every attempt: it could not be finished now.
    Retry {
        /// Why, for the log.
        reason: Cow<'static, str>,
    },
    /// Nak with a delay of one minute: it cannot be finished now, while other messages may be. Acts as
    /// [`Disposition::Pause`] when as many messages wait as may.
    Postpone {
        /// Why, for the log.
        reason: Cow<'static, str>,
    },
    /// No message can be finished now: the worker stops pulling for a while and reports it.
    Pause {
        /// Why, for the log.
        reason: Cow<'static, str>,
    },
}

impl Disposition {
    /// A [`Disposition::Retry`].
    pub fn retry(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Retry { reason: reason.into() }
    }

    /// A [`Disposition::Postpone`].
    pub fn postpone(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Postpone { reason: reason.into() }
    }

    /// A [`Disposition::Pause`].
    pub fn pause(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Pause { reason: reason.into() }
    }
}

/// A message that a consumer received.
#[derive(Clone)]
pub struct Delivery {
    /// Subject to which it was published.
    pub subject: String,
    /// Its headers, without those of its publish.
    pub headers: Headers,
    /// Its payload.
    pub payload: Bytes,
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Number of this delivery, from 1.
    pub attempt: u64,
    /// When the stream stored it.
    pub stored_at: Timestamp,
}

// The payload and some headers are personal.
impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delivery")
            .field("subject", &self.subject)
            .field("sequence", &self.sequence)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

impl Delivery {
    /// Splits a message into its content and its ack handle; `None` if its reply subject is not one of JetStream.
    pub(crate) fn split(message: Message) -> Option<(Self, Acker)> {
        let info = message.info().ok()?;
        let (sequence, attempt) = (info.stream_sequence, u64::try_from(info.delivered).unwrap_or(1));
        let stored_at = to_timestamp(info.published.unix_timestamp_nanos());
        let (message, acker) = message.split();
        let delivery = Self {
            subject: message.subject.as_str().to_owned(),
            headers: Headers::read(message.headers.unwrap_or_default()),
            payload: message.payload,
            sequence,
            attempt,
            stored_at,
        };
        Some((delivery, acker))
    }

    /// A stored message that was not delivered to a consumer.
    pub(crate) fn stored(message: StreamMessage) -> Self {
        Self {
            subject: message.subject.to_string(),
            headers: Headers::read(message.headers),
            payload: message.payload,
            sequence: message.sequence,
            attempt: 0,
            stored_at: to_timestamp(message.time.unix_timestamp_nanos()),
        }
    }

    /// The `Nats-Msg-Id` that it was published with.
    pub fn message_id(&self) -> Option<&str> {
        self.headers.message_id()
    }

    /// The subject as a type; `None` if it is not a subject of imchannel.
    pub fn address(&self) -> Option<Subject> {
        Subject::parse(&self.subject)
    }
}
