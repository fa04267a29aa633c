//! Publishing that says *stored* only when JetStream has said so.

use std::time::Duration;

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use tokio::time::Instant;

use crate::connect::{Bus, PATIENCE_MIN_MS};
use crate::headers::Headers;
use crate::subject::Subject;

/// Between two attempts to store the same message.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// With less than this left the deadline itself ends an attempt.
const LAST_ATTEMPT: Duration = Duration::from_millis(2 * PATIENCE_MIN_MS + 100);

/// Proof that JetStream has stored a message. Only publishing makes one.
#[derive(Debug, Clone, Copy)]
pub struct Stored {
    sequence: u64,
    duplicate: bool,
}

impl Stored {
    /// The sequence in the stream; of the first one, for a duplicate.
    pub fn sequence(self) -> u64 {
        self.sequence
    }

    /// Whether the stream already held a message of this id.
    pub fn is_duplicate(self) -> bool {
        self.duplicate
    }
}

/// A message was not stored, or nobody knows whether it was. Storing it again under the same id does no harm.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// No connection to the server.
    #[error("no connection to NATS")]
    Disconnected,
    /// The acknowledgement did not come in time; the message may have been stored.
    #[error("no acknowledgement from JetStream in time")]
    TimedOut,
    /// Too many publishes wait for their acknowledgement.
    #[error("too many publishes in flight")]
    Overloaded,
    /// The stream has reached its limit of bytes.
    #[error("the stream is full")]
    Full,
    /// No stream takes the subject.
    #[error("no stream for the subject")]
    NoStream,
    /// The message is larger than the server takes.
    #[error("the message is larger than the server takes")]
    TooLarge,
    /// Another message than expected is the last of its subject.
    #[error("another message than expected is the last of its subject")]
    WrongLastSequence,
    /// The stream's sequence has gone back, so that what is stored now may never be delivered.
    #[error("the stream's sequence has gone back: run `imchannel streams repair`")]
    GoneBack,
    /// JetStream refused the message.
    #[error("JetStream refused the message")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl PublishError {
    /// Whether the same message may be stored on a later attempt.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::TooLarge | Self::WrongLastSequence)
    }

    /// A word for a metric's label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::TimedOut => "timed_out",
            Self::Overloaded => "overloaded",
            Self::Full => "full",
            Self::NoStream => "no_stream",
            Self::TooLarge => "too_large",
            Self::WrongLastSequence => "wrong_last_sequence",
            Self::GoneBack => "gone_back",
            Self::Refused(_) => "refused",
        }
    }
}

impl From<jetstream::context::PublishError> for PublishError {
    fn from(error: jetstream::context::PublishError) -> Self {
        match error.kind() {
            PublishErrorKind::StreamNotFound => Self::NoStream,
            PublishErrorKind::TimedOut => Self::TimedOut,
            PublishErrorKind::BrokenPipe => Self::Disconnected,
            PublishErrorKind::MaxAckPending => Self::Overloaded,
            PublishErrorKind::MaxPayloadExceeded => Self::TooLarge,
            PublishErrorKind::WrongLastSequence => Self::WrongLastSequence,
            _ if is_full(&error) => Self::Full,
            _ => Self::Refused(error.into()),
        }
    }
}

/// What the server answers when a stream (10077), its account or its disk has no room left.
const FULL: [ErrorCode; 5] = [
    ErrorCode::STREAM_STORE_FAILED,
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
    ErrorCode::MEMORY_RESOURCES_EXCEEDED,
];

fn is_full(error: &jetstream::context::PublishError) -> bool {
    let source =
        std::error::Error::source(error).and_then(|source| source.downcast_ref::<jetstream::Error>());
    source.is_some_and(|error| FULL.contains(&error.error_code()))
}

impl Bus {
    /// Stores a message, trying again until `deadline`: across a reconnection, and while a full stream is being
    /// purged. `headers` is called once an attempt and must carry the same `Nats-Msg-Id` each time, so that a
    /// message whose acknowledgement was lost is not stored twice.
    ///
    /// # Errors
    /// The last attempt's [`PublishError`].
    pub async fn store(
        &self,
        subject: &Subject,
        headers: impl Fn() -> Headers,
        payload: &Bytes,
        deadline: Instant,
    ) -> Result<Stored, PublishError> {
        let stream = subject.stream();
        let place = self.sequences.place(stream.name);
        let subject = async_nats::Subject::from(subject.to_text());
        loop {
            // Before the server says so: an old one would make room by throwing away what nobody has read.
            let outcome = if self.is_full(stream) {
                Err(PublishError::Full)
            } else if !self.sequences.looked_at_by(stream.name, deadline).await {
                Err(PublishError::Disconnected)
            } else if place.is_refused() {
                // After the wait for the look, which may have found it.
                Err(PublishError::GoneBack)
            } else {
                self.attempt((stream.name, &subject), headers(), payload, deadline).await
            };
            // A duplicate says nothing of the sequence, and may be one of what was stored too low.
            let outcome = if place.is_refused() { outcome.and(Err(PublishError::GoneBack)) } else { outcome };
            let error = match outcome {
                Ok(stored) => return Ok(stored),
                Err(error) => error,
            };
            if !error.is_transient() || Instant::now() + RETRY_PAUSE >= deadline {
                return Err(error);
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// One attempt, which is not repeated.
    pub(crate) async fn attempt(
        &self,
        (stream, subject): (&str, &async_nats::Subject),
        headers: Headers,
        payload: &Bytes,
        deadline: Instant,
    ) -> Result<Stored, PublishError> {
        // While disconnected the client would queue the message and send it later, whoever has given up by then.
        if !self.is_connected() && tokio::time::timeout_at(deadline, self.connected()).await.is_err() {
            return Err(PublishError::Disconnected);
        }
        // Half of what is left: an acknowledgement that a dying server took along leaves time for another attempt.
        let left = deadline.saturating_duration_since(Instant::now());
        let jetstream = self.publishers.patient_for(left / 2);
        let floor = self.sequences.place(stream).highest();
        let publish = async {
            let sent = jetstream.publish_with_headers(subject.clone(), headers.0, payload.clone()).await?;
            Ok::<_, PublishError>(sent.await?)
        };
        // A timer of our own only where the client's, which counts twice, could last too long.
        let ack = if left < LAST_ATTEMPT {
            tokio::time::timeout_at(deadline, publish).await.map_err(|_| PublishError::TimedOut)??
        } else {
            publish.await?
        };
        if !ack.duplicate && !self.sequences.acknowledged(stream, floor, ack.sequence) {
            return Err(PublishError::GoneBack);
        }
        Ok(Stored { sequence: ack.sequence, duplicate: ack.duplicate })
    }
}
