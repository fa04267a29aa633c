//! How far a bucket's sequence had come, written down in a bucket of its own: the evidence that outlives every process.
//!
//! A stream with a durable needs none, as the server keeps the durable's place apart from the stream. The ledger and the registry
//! have no durable. Their marks live in `imchannel_marks`, which is never empty and never purged: the streams whose sequence a
//! full disk has set back were empty.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::connect::Bus;
use crate::headers::{EXPECTED_LAST_SUBJECT_SEQUENCE, Headers};
use crate::streams::MARKS_BUCKET;

pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// How far a stream had come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// When the stream was made, in nanoseconds since 1970, by which a stream that was made again is told.
    pub(crate) created_ns: i64,
    /// A sequence that it had reached.
    pub(crate) sequence: u64,
    /// How many times an operator has accepted it as it was.
    pub(crate) repairs: u64,
}

impl Mark {
    /// Stands for what is stored there and is no mark. It is of no stream that there is, so the ledger waits for an operator.
    const UNREADABLE: Self = Self { created_ns: 0, sequence: 0, repairs: 0 };

    fn of_stored(value: &[u8]) -> Self {
        bsp::json::from_slice(value).unwrap_or(Self::UNREADABLE)
    }
}

/// A mark as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct StoredMark {
    pub(crate) mark: Mark,
    revision: u64,
}

fn subject(stream: &str) -> String {
    format!("$KV.{}.{stream}", MARKS_BUCKET.name)
}

/// The mark of a stream; `None` where there is none, or no bucket yet.
pub(crate) async fn read(bus: &Bus, stream: &str) -> Result<Option<StoredMark>, Fault> {
    let bucket = bus.jetstream.get_stream_no_info(MARKS_BUCKET.stream).await?;
    let message = match bucket.get_last_raw_message_by_subject(&subject(stream)).await {
        Ok(message) => message,
        Err(error) => {
            return match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(inner)
                    if inner.error_code() == ErrorCode::STREAM_NOT_FOUND =>
                {
                    Ok(None)
                }
                _ => Err(error.into()),
            };
        }
    };
    let mark = Mark::of_stored(&message.payload);
    Ok(Some(StoredMark { mark, revision: message.sequence }))
}

/// Stores a mark in the place of the one that was read.
pub(crate) async fn write(
    bus: &Bus,
    stream: &str,
    mark: &Mark,
    instead_of: Option<&StoredMark>,
) -> Result<(), Fault> {
    let expected = instead_of.map_or(0, |stored| stored.revision).to_string();
    let headers = Headers::new().with(EXPECTED_LAST_SUBJECT_SEQUENCE, &expected);
    let value = Bytes::from(serde_json::to_vec(mark)?);
    bus.jetstream.publish_with_headers(subject(stream), headers.0, value).await?.await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_mark_is_of_no_stream() {
        let mark = Mark { created_ns: 5, sequence: 7, repairs: 1 };
        assert_eq!(Mark::of_stored(&serde_json::to_vec(&mark).unwrap()), mark);
        for other in ["", "{}", "[5,7,1]", r#"[{"created_ns":5,"sequence":7,"repairs":1}]"#] {
            assert_eq!(Mark::of_stored(other.as_bytes()), Mark::UNREADABLE, "{other}");
        }
    }
}
