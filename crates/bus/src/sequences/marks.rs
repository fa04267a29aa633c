//! Last known sequence of a bucket, stored in a separate bucket, so that it outlives every process.
//!
//! A stream with a durable needs no mark, because the server stores the durable's position separately from the stream.
//! The ledger and the registry have no durable. Their marks are in `imchannel_marks`, which is never empty and never
//! purged: the streams whose sequence a
//! full disk has set back were empty.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{Info, LastRawMessageErrorKind};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::client::connect::Bus;
use crate::schema::headers::{EXPECTED_LAST_SUBJECT_SEQUENCE, Headers};
use crate::schema::stream_id::StreamId;
use crate::schema::streams::{MARKS_BUCKET, SENDS_BUCKET};
use crate::schema::timestamps::nanoseconds;

pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Creation time of an unreadable mark, in nanoseconds since 1970: no stream was created then.
const UNREADABLE_CREATED_NS: i64 = 0;

/// Last known sequence of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// Creation time of the stream in nanoseconds since 1970, which identifies it.
    pub(crate) created_ns: i64,
    /// A sequence that it had reached.
    pub(crate) sequence: u64,
    /// Number of times that an operator has accepted it.
    pub(crate) repairs: u64,
}

impl Mark {
    /// Replaces a stored value that is not a mark. It matches no existing stream, so the ledger waits for an operator.
    const UNREADABLE: Self = Self { created_ns: UNREADABLE_CREATED_NS, sequence: 0, repairs: 0 };

    fn of_stored(value: &[u8]) -> Self {
        bsp::json::from_slice(value).unwrap_or(Self::UNREADABLE)
    }
}

/// Whether a mark belongs to the current ledger.
///
/// The creation time alone does not show that. nats-server 2.9.10 and 2.10.27 change it (2.15.1 does not): after a
/// restart, any update of the stream, such as setup's, and another restart, it is the time of the first restart
/// (tests/e2e/bus/lost_sequences.rs). A ledger whose sequence is not lower than before counts as the same one if it has a
/// message that is older than its creation time, if all messages have expired by their age, or if its creation time is
/// longer ago than the maximum age of an entry: then entries that another ledger would have lost are no longer needed.
pub(crate) fn is_of_ledger(mark: &Mark, found: &FoundLedger, now_ns: i64) -> bool {
    if mark.created_ns == found.created_ns {
        return true;
    }
    // An unreadable mark belongs to no ledger, and a restart never makes a stream older.
    if mark.created_ns == UNREADABLE_CREATED_NS
        || mark.created_ns > found.created_ns
        || found.last < mark.sequence
    {
        return false;
    }
    let has_older = found.first_ns.is_some_and(|first_ns| first_ns < found.created_ns);
    let has_expired = found.first_ns.is_none() && found.last > 0;
    let life_ns = i64::try_from(SENDS_BUCKET.max_age.as_nanos()).unwrap_or(i64::MAX);
    has_older || has_expired || now_ns.saturating_sub(found.created_ns) >= life_ns
}

/// State of the ledger on the server, times in nanoseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoundLedger {
    created_ns: i64,
    last: u64,
    /// When its oldest entry was stored; `None` if it is empty.
    first_ns: Option<i64>,
}

impl FoundLedger {
    pub(crate) fn of(info: &Info) -> Self {
        let state = &info.state;
        let first_ns = (state.messages > 0).then(|| nanoseconds(state.first_timestamp));
        Self { created_ns: nanoseconds(info.created), last: state.last_sequence, first_ns }
    }
}

/// A stored mark.
#[derive(Debug, Clone)]
pub(crate) struct StoredMark {
    pub(crate) mark: Mark,
    revision: u64,
}

fn subject(stream: StreamId) -> String {
    format!("$KV.{}.{stream}", MARKS_BUCKET.name)
}

/// Reads the mark of a stream; `None` without a mark or a bucket.
pub(crate) async fn read(bus: &Bus, stream: StreamId) -> Result<Option<StoredMark>, Fault> {
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

/// Stores a mark in place of the one that was read.
pub(crate) async fn write(
    bus: &Bus,
    stream: StreamId,
    mark: &Mark,
    instead_of: Option<&StoredMark>,
) -> Result<(), Fault> {
    let expected = instead_of.map_or(0, |stored| stored.revision).to_string();
    let headers = Headers::new().with(EXPECTED_LAST_SUBJECT_SEQUENCE, &expected);
    let value = Bytes::from(serde_json::to_vec(mark)?);
    bus.jetstream.publish_with_headers(subject(stream), headers.into_map(), value).await?.await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_whose_time_the_server_has_changed_is_the_same() {
        const HOUR: i64 = 3600 * 1_000_000_000;
        let mark = Mark { created_ns: HOUR, sequence: 7, repairs: 0 };
        let found = FoundLedger { created_ns: 3 * HOUR, last: 9, first_ns: Some(2 * HOUR) };
        let now_ns = 4 * HOUR;
        assert!(
            is_of_ledger(&mark, &FoundLedger { created_ns: HOUR, last: 3, ..found }, now_ns),
            "its own time"
        );
        assert!(is_of_ledger(&mark, &found, now_ns), "an entry from before");
        assert!(is_of_ledger(&mark, &FoundLedger { first_ns: None, ..found }, now_ns), "all have expired");
        let younger = FoundLedger { first_ns: Some(now_ns), ..found };
        assert!(is_of_ledger(&mark, &younger, 29 * HOUR), "what it would have lost is too old to matter");

        assert!(!is_of_ledger(&mark, &younger, now_ns), "made again, and filled since");
        assert!(!is_of_ledger(&mark, &FoundLedger { last: 6, ..found }, now_ns), "shorter than it was");
        let empty = FoundLedger { last: 0, first_ns: None, ..found };
        assert!(
            !is_of_ledger(&Mark { sequence: 0, ..mark.clone() }, &empty, now_ns),
            "made again, and empty"
        );
        assert!(!is_of_ledger(&Mark { created_ns: 4 * HOUR, ..mark }, &found, now_ns), "older than its mark");
        assert!(!is_of_ledger(&Mark::UNREADABLE, &found, 99 * HOUR), "no mark");
    }

    /// docs/compatibility.md promises this form: version 0.1 wrote these marks, and they never change.
    #[test]
    fn what_an_earlier_version_wrote_is_read_and_written_alike() {
        let mark = Mark { created_ns: 1, sequence: 2, repairs: 3 };
        let stored = r#"{"created_ns":1,"sequence":2,"repairs":3}"#;
        assert_eq!(Mark::of_stored(stored.as_bytes()), mark);
        assert_eq!(serde_json::to_string(&mark).unwrap(), stored);
        let later = r#"{"created_ns":1,"sequence":2,"repairs":3,"added_later":1}"#;
        assert_eq!(Mark::of_stored(later.as_bytes()), mark, "a later version may add a field");
    }

    #[test]
    fn an_invalid_mark_belongs_to_no_stream() {
        let mark = Mark { created_ns: 5, sequence: 7, repairs: 1 };
        assert_eq!(Mark::of_stored(&serde_json::to_vec(&mark).unwrap()), mark);
        for other in ["", "{}", "[5,7,1]", r#"[{"created_ns":5,"sequence":7,"repairs":1}]"#] {
            assert_eq!(Mark::of_stored(other.as_bytes()), Mark::UNREADABLE, "{other}");
        }
    }
}
