//! How full streams are. A process that publishes to a stream runs a purger for it or [`watch`]es it, so that nothing is
//! published to a full one. A service must not wait for the server's own limit.

use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream::stream::Stream;
use tokio_util::sync::CancellationToken;

use crate::client::connect::Bus;
use crate::read::ReadError;
use crate::schema::stream_id::StreamId;
use crate::schema::streams::COMPACT_ENTRIES;
use crate::state::stream_fill::Room;

/// Share of a stream's bytes above which it is purged.
const PURGE_ABOVE: f64 = 0.70;
/// Above this share of its bytes, this process publishes nothing more to a stream. A nats-server from before the end of
/// 2023 compares a message with the free bytes without the message's own overhead. If only the overhead does not fit,
/// it stores the message, acks it, and deletes the oldest message, even an unread one (nats-server issue 4771, fixed by
/// pull request 4772). So the last bytes stay unused.
const REFUSE_ABOVE: f64 = 0.95;
/// Share of its bytes above which the ledger of sends takes no new entries. Old entries expire with their age.
const LEDGER_FULL_ABOVE: f64 = 0.90;

/// Checks every `interval` until `stop` whether streams are full, beginning with the connection. It changes nothing on the
/// server.
pub async fn watch(bus: &Bus, streams: &[StreamId], interval: Duration, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => return,
        () = bus.connected() => {}
    }
    loop {
        for id in streams {
            if bus.is_connected() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    // A missing or unavailable stream is reported by the publish.
                    _ = refresh(bus, *id) => {}
                }
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// Checks once whether a stream is full.
///
/// # Errors
/// [`ReadError`] when the stream is missing or unavailable.
pub async fn refresh(bus: &Bus, id: StreamId) -> Result<(), ReadError> {
    let connection = bus.sequences.connection();
    let stream = bus.jetstream.get_stream(id.name()).await;
    note(bus, id, &stream.map_err(|error| ReadError::new(id.name(), error))?, connection).await;
    Ok(())
}

/// Records how full a stream is, whether it takes batches, and whether the ledger's entries may be compact. The look was made on that
/// connection.
pub(super) async fn note(bus: &Bus, id: StreamId, stream: &Stream, connection: u64) {
    let room = Usage::of(stream).map_or(Room::Unlimited, |usage| match id {
        // What is written replaces entries, so that it does not count until the next look.
        StreamId::Sends if usage.is_above(LEDGER_FULL_ABOVE) => Room::Full,
        StreamId::Sends => Room::Unlimited,
        _ => usage.room_below(REFUSE_ABOVE),
    });
    bus.fill.set(id, room);
    if id == StreamId::Sends {
        let description = stream.cached_info().config.description.as_deref().unwrap_or_default();
        bus.compact_ledger.store(description.contains(COMPACT_ENTRIES), Ordering::Relaxed);
    }
    // On the heap, because it seldom waits and the futures of the services would have room for it.
    Box::pin(bus.note_batches(id, stream.cached_info(), connection)).await;
}

/// What a stream with a limit holds.
pub(super) struct Usage {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) max_bytes: u64,
    pub(super) first_sequence: u64,
    pub(super) last_sequence: u64,
}

impl Usage {
    /// Returns `None` for a stream without a limit.
    pub(super) fn of(stream: &Stream) -> Option<Self> {
        let info = stream.cached_info();
        Some(Self {
            messages: info.state.messages,
            bytes: info.state.bytes,
            max_bytes: u64::try_from(info.config.max_bytes).ok()?,
            first_sequence: info.state.first_sequence,
            last_sequence: info.state.last_sequence,
        })
    }

    fn is_above(&self, share: f64) -> bool {
        self.messages > 0 && self.bytes as f64 > self.max_bytes as f64 * share
    }

    pub(super) fn is_filling_up(&self) -> bool {
        self.is_above(PURGE_ABOVE)
    }

    /// Room below a share of its bytes. An empty stream is never full.
    fn room_below(&self, share: f64) -> Room {
        if self.is_above(share) {
            return Room::Full;
        }
        Room::Bytes(((self.max_bytes as f64 * share) as u64).saturating_sub(self.bytes).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_with_room_is_left_alone() {
        let full = Usage {
            messages: 1000,
            bytes: 1_000_000,
            max_bytes: 1_000_000,
            first_sequence: 501,
            last_sequence: 1500,
        };
        assert!(full.is_filling_up());
        assert_eq!(full.room_below(REFUSE_ABOVE), Room::Full);
        assert_eq!(Usage { bytes: 900_000, ..full }.room_below(REFUSE_ABOVE), Room::Bytes(50_000));
        assert!(!Usage { bytes: 700_000, ..full }.is_filling_up());
        assert!(!Usage { messages: 0, bytes: 0, ..full }.is_filling_up());
    }
}
