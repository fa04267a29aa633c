//! Full messages, read from their streams by the places of rows, while the streams hold them.

use std::time::Duration;

use bus::rate_limited_log::RateLimitedLog;
use bus::{Delivery, message_store};
use jiff::Timestamp;

use crate::http::state::Shared;
use crate::life;
use crate::row::{Row, StreamNumber};

/// Timeout of reading one message.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

static READ_ERRORS: RateLimitedLog = RateLimitedLog::new();

/// A full message, or why there is none.
#[derive(Debug)]
pub(crate) enum Original {
    /// The message.
    Found(Box<Delivery>),
    /// The stream no longer holds it.
    Gone,
    /// NATS does not answer, or refuses to.
    Unavailable,
}

impl Original {
    /// The message, if it was read.
    pub(crate) fn found(&self) -> Option<&Delivery> {
        match self {
            Self::Found(delivery) => Some(delivery),
            Self::Gone | Self::Unavailable => None,
        }
    }

    /// The same if it was stored at this time: a stream that was created again has another message with the sequence.
    pub(crate) fn stored_at(self, at: Timestamp) -> Self {
        match self {
            Self::Found(delivery) if delivery.stored_at != at => Self::Gone,
            same => same,
        }
    }

    /// The same if a row that names its place may have been made from it, for the same reason.
    pub(crate) fn source_of(self, row: &Row) -> Self {
        match self {
            Self::Found(delivery) if !life::was_there_for(row, delivery.stored_at) => Self::Gone,
            same => same,
        }
    }
}

/// Reads one message.
pub(crate) async fn read(shared: &Shared, stream: StreamNumber, sequence: u64) -> Original {
    let Some(bus) = &shared.api.bus else { return Original::Unavailable };
    let reading = message_store::get(bus, stream.definition(), sequence);
    let why = match tokio::time::timeout(READ_TIMEOUT, reading).await {
        Ok(Ok(Some(delivery))) => return Original::Found(Box::new(delivery)),
        Ok(Ok(None)) => return Original::Gone,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("timed out after {} s", READ_TIMEOUT.as_secs()),
    };
    if let Some(turn) = READ_ERRORS.next() {
        let name = stream.name();
        tracing::warn!(
            function = "timeline",
            "cannot read the message {name}/{sequence} for an answer: {why}{turn}"
        );
    }
    Original::Unavailable
}
