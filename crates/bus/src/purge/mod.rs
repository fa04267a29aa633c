//! Removes processed messages without affecting messages in flight.
//!
//! When a stream is purged, nats-server before 2.10 drops every delivered and unacked message from the state of every
//! consumer: `consumer.purge` drops the whole list, even if only much older messages are removed (seen on 2.9.10;
//! 2.10.27 and 2.15.1 keep them). Deleting a single message affects only that message. So if a server of the cluster is
//! older, or its version is unknown, messages are deleted one at a time, oldest first.
//!
//! The caller decides which messages to remove ([`crate::purge::purger`], [`crate::admin::command_consumers`]).

pub mod fill;
pub mod purger;

use std::collections::BTreeSet;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{DeleteStatus, Info, RawMessageErrorKind, Stream};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::Serialize;

use crate::client::connect::Bus;
use crate::client::versions::{ServerVersion, Versions, holders};

/// First version of nats-server whose purge keeps messages that are in flight.
pub const PURGE_IS_SAFE_FROM: ServerVersion = ServerVersion::new(2, 10, 0);
/// Most deletions in flight.
const DELETES_IN_FLIGHT: usize = 128;
/// Most messages that one call deletes, so that a purger reaches its other streams too.
const DELETES_A_CALL_MAX: u64 = 5_000;
/// Share of a call's first deletions that must find their message. Below it another purger is deleting the same
/// messages, and the call ends.
const FOUND_SHARE_MIN: f64 = 0.25;

/// How messages are removed from a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeMethod {
    /// One request for all messages.
    Purge,
    /// One request for each message.
    DeleteEach,
}

impl PurgeMethod {
    /// The method for a stream: [`Self::Purge`] only if every server is known to keep what is in flight.
    pub(crate) async fn of(bus: &Bus, info: &Info) -> Self {
        let holders = holders(info);
        // A server that reports no holder is old, or another server is in front of it, whose version is irrelevant.
        if holders.is_empty() {
            return Self::DeleteEach;
        }
        Self::by_versions(&holders, &bus.server_versions(&holders).await)
    }

    fn by_versions(holders: &BTreeSet<String>, versions: &Versions) -> Self {
        let are_known = holders.iter().all(|name| versions.contains_key(name));
        let are_new = versions.values().all(|version| *version >= PURGE_IS_SAFE_FROM);
        if are_known && are_new { Self::Purge } else { Self::DeleteEach }
    }
}

/// What a call has removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) messages: u64,
    /// Whether the call stopped at its limit, with more to be removed.
    pub(crate) is_cut: bool,
}

pub(crate) type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Removes the messages of a stream whose sequence is below `keep_from`.
pub(crate) async fn all_below(
    bus: &Bus,
    stream: &Stream,
    method: PurgeMethod,
    keep_from: u64,
) -> Result<Removed, Fault> {
    if method == PurgeMethod::Purge {
        let purged = stream.purge().sequence(keep_from).await?.purged;
        return Ok(Removed { messages: purged, is_cut: false });
    }
    let info = stream.cached_info();
    let sequences = stream::iter(info.state.first_sequence..keep_from).map(Ok).boxed();
    delete_each(bus, &info.config.name, sequences).await
}

/// Removes the messages of one subject whose sequence is below `keep_from`.
pub(crate) async fn subject_below(
    bus: &Bus,
    stream: &Stream,
    method: PurgeMethod,
    subject: &str,
    keep_from: u64,
) -> Result<Removed, Fault> {
    if method == PurgeMethod::Purge {
        let purged = stream.purge().filter(subject).sequence(keep_from).await?.purged;
        return Ok(Removed { messages: purged, is_cut: false });
    }
    let info = stream.cached_info();
    let sequences = stream::try_unfold(info.state.first_sequence.max(1), move |from| async move {
        let next = next_sequence(stream, subject, from).await?;
        Ok(next.filter(|sequence| *sequence < keep_from).map(|sequence| (sequence, sequence + 1)))
    });
    delete_each(bus, &info.config.name, sequences.boxed()).await
}

/// Returns the first sequence of a subject that is `from` or more. The server sends the whole message with it, so only
/// one is requested at a time.
async fn next_sequence(stream: &Stream, subject: &str, from: u64) -> Result<Option<u64>, Fault> {
    match stream.raw_message_builder().sequence(from).next_by_subject(subject).send().await {
        Ok(message) => Ok(Some(message.sequence)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Deletes the messages in the given order, many concurrently.
async fn delete_each(
    bus: &Bus,
    stream: &str,
    sequences: BoxStream<'_, Result<u64, Fault>>,
) -> Result<Removed, Fault> {
    let limit = usize::try_from(DELETES_A_CALL_MAX).unwrap_or(usize::MAX);
    let deletions = sequences.take(limit).map_ok(|sequence| delete(bus, stream, sequence));
    let mut deletions = std::pin::pin!(deletions.try_buffer_unordered(DELETES_IN_FLIGHT));
    let (mut asked, mut found) = (0, 0);
    while let Some(was_there) = deletions.try_next().await? {
        asked += 1;
        found += u64::from(was_there);
        if asked == DELETES_IN_FLIGHT as u64 && (found as f64) < asked as f64 * FOUND_SHARE_MIN {
            return Ok(Removed { messages: found, is_cut: false });
        }
    }
    Ok(Removed { messages: found, is_cut: asked == DELETES_A_CALL_MAX })
}

/// The body of `STREAM.MSG.DELETE`. The client's own function omits `no_erase`, and then the server overwrites the
/// message on its disk, which is slow.
#[derive(Serialize)]
struct Delete {
    #[serde(rename = "seq")]
    sequence: u64,
    no_erase: bool,
}

/// Deletes one message. Returns whether it existed.
pub(crate) async fn delete(bus: &Bus, stream: &str, sequence: u64) -> Result<bool, Fault> {
    let subject = format!("STREAM.MSG.DELETE.{stream}");
    let answer = bus.jetstream.request(subject, &Delete { sequence, no_erase: true }).await?;
    match answer {
        Response::Ok(DeleteStatus { success }) => Ok(success),
        Response::Err { error } => match error.error_code() {
            // Another purger was faster, or it was deleted long ago.
            ErrorCode::STREAM_MESSAGE_DELETE_FAILED | ErrorCode::SEQUENCE_NOT_FOUND => Ok(false),
            _ => Err(error.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: ServerVersion = ServerVersion::new(2, 9, 25);
    const NEW: ServerVersion = PURGE_IS_SAFE_FROM;

    fn method(holders: &[&str], versions: &[(&str, ServerVersion)]) -> PurgeMethod {
        let holders = holders.iter().map(|name| (*name).to_owned()).collect();
        let versions = versions.iter().map(|(name, version)| ((*name).to_owned(), *version)).collect();
        PurgeMethod::by_versions(&holders, &versions)
    }

    #[test]
    fn a_stream_is_purged_only_where_every_server_is_known_to_be_new() {
        let all_new = [("a", NEW), ("b", NEW), ("c", NEW)];
        assert_eq!(method(&["a", "b", "c"], &all_new), PurgeMethod::Purge);
        assert_eq!(method(&["a"], &all_new), PurgeMethod::Purge);
        assert_eq!(method(&["a", "b"], &[("a", NEW), ("b", OLD)]), PurgeMethod::DeleteEach);
        assert_eq!(method(&["a", "b"], &[("a", NEW)]), PurgeMethod::DeleteEach, "b is not known");
        assert_eq!(method(&["a"], &[("a", NEW), ("c", OLD)]), PurgeMethod::DeleteEach, "c may get it");
    }
}
