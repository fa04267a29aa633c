//! Why a message was not stored.

use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::{self, ErrorCode};

/// A message was not stored, or it is not known whether it was. Storing it again with the same id is safe.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// No connection to the server.
    #[error("not connected to NATS")]
    Disconnected,
    /// The ack did not come in time. The message may have been stored.
    #[error("timed out waiting for the ack of JetStream")]
    TimedOut,
    /// The stream acks too slowly for the number of writes. The message was not written.
    #[error("too many publishes in flight; retry later")]
    Overloaded,
    /// The stream has reached its limit of bytes.
    #[error("the stream is full")]
    Full,
    /// The dead letters of the channel have used their share of the stream.
    #[error("the dead letters of the channel have reached their limit, a quarter of the stream")]
    ChannelFull,
    /// No stream takes the subject.
    #[error("no stream stores this subject")]
    NoStream,
    /// The message is larger than the server takes.
    #[error("the message exceeds the maximum size of the server (max_payload)")]
    TooLarge,
    /// The last message of its subject is not the expected one.
    #[error("the last message of the subject is not the expected one")]
    WrongLastSequence,
    /// The stream's sequence has gone back, so that what is stored now may never be delivered.
    #[error("the stream's sequence has gone back: run `imchannel streams repair`")]
    GoneBack,
    /// JetStream knows the message's id from an earlier attempt, and has not stored the message.
    #[error("JetStream knows the message id, but has not stored the message")]
    Uncommitted,
    /// JetStream refused the message.
    #[error("JetStream refused the message")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl PublishError {
    /// Whether a retry of the same message may succeed.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::TooLarge | Self::WrongLastSequence)
    }

    /// Whether it shows that the stream accepts nothing for now, not only this message.
    pub(super) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Full | Self::GoneBack | Self::NoStream)
    }

    /// A short name for a metric's label.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::TimedOut => "timed_out",
            Self::Overloaded => "overloaded",
            Self::Full => "full",
            Self::ChannelFull => "channel_full",
            Self::NoStream => "no_stream",
            Self::TooLarge => "too_large",
            Self::WrongLastSequence => "wrong_last_sequence",
            Self::GoneBack => "gone_back",
            Self::Uncommitted => "uncommitted",
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
            _ => match server_code(&error) {
                Some(ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT) => Self::Uncommitted,
                // 10164: another message with the subject is being stored (servers with replicas), or is in the same batch.
                Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) => Self::WrongLastSequence,
                Some(code) if FULL.contains(&code) => Self::Full,
                _ => Self::Refused(error.into()),
            },
        }
    }
}

impl From<async_nats::PublishError> for PublishError {
    fn from(error: async_nats::PublishError) -> Self {
        match error.kind() {
            async_nats::client::PublishErrorKind::MaxPayloadExceeded => Self::TooLarge,
            async_nats::client::PublishErrorKind::InvalidSubject => Self::Refused(error.into()),
            async_nats::client::PublishErrorKind::Send => Self::Disconnected,
        }
    }
}

/// Error codes of the server when a stream (10077), its account or its disk is full.
const FULL: [ErrorCode; 5] = [
    ErrorCode::STREAM_STORE_FAILED,
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
    ErrorCode::MEMORY_RESOURCES_EXCEEDED,
];

/// The server's own code of an error.
pub(super) fn server_code(error: &jetstream::context::PublishError) -> Option<ErrorCode> {
    let source = std::error::Error::source(error)?;
    source.downcast_ref::<jetstream::Error>().map(jetstream::Error::error_code)
}
