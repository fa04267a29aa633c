//! Times of the server as the types of this crate.

use jiff::Timestamp;

/// Returns the time that the server reports in nanoseconds since 1970.
pub(crate) fn to_timestamp(unix_nanoseconds: i128) -> Timestamp {
    Timestamp::from_nanosecond(unix_nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Returns a time in nanoseconds since 1970. A creation time in this form identifies a stream.
pub(crate) fn nanoseconds(time: time::OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}
