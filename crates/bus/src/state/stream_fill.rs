//! Which streams are full, as far as this process knows. Every publish reads it.
//!
//! A stream is looked at in intervals, and a batch may be a megabyte: what this process has written since the last look, and what is in
//! flight, counts as stored.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::schema::stream_id::StreamId;

/// How full the streams are, in the order of [`StreamId::ALL`]. [`crate::fill`] keeps it current.
#[derive(Debug, Default)]
pub(crate) struct StreamFill([Fill; StreamId::ALL.len()]);

#[derive(Debug)]
struct Fill {
    is_full: AtomicBool,
    /// Bytes that may still be written before the stream counts as full.
    room: AtomicI64,
    in_flight: AtomicI64,
}

impl Default for Fill {
    fn default() -> Self {
        Self { is_full: AtomicBool::new(false), room: AtomicI64::new(i64::MAX), in_flight: AtomicI64::new(0) }
    }
}

/// What a look at a stream has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It is full.
    Full,
    /// Bytes until it counts as full.
    Bytes(u64),
    /// It has no limit.
    Unlimited,
}

/// Bytes in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct InFlightBytes<'f> {
    of: &'f Fill,
    bytes: i64,
}

impl Drop for InFlightBytes<'_> {
    fn drop(&mut self) {
        self.of.in_flight.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl StreamFill {
    /// Records a look at a stream. Publishes to a full stream wait, or fail as if the server had refused them.
    pub(crate) fn set(&self, stream: StreamId, room: Room) {
        let fill = &self.0[stream as usize];
        fill.is_full.store(room == Room::Full, Ordering::Relaxed);
        let room = match room {
            // The flag alone says it: the ledger, which is written to when it is full, would count far below zero.
            Room::Full | Room::Unlimited => i64::MAX,
            // What is in flight may be in the look or not.
            Room::Bytes(bytes) => i64::try_from(bytes)
                .unwrap_or(i64::MAX)
                .saturating_sub(fill.in_flight.load(Ordering::Relaxed)),
        };
        fill.room.store(room, Ordering::Relaxed);
    }

    pub(crate) fn is_full(&self, stream: StreamId) -> bool {
        let fill = &self.0[stream as usize];
        fill.is_full.load(Ordering::Relaxed) || fill.room.load(Ordering::Relaxed) <= 0
    }

    /// Counts bytes that are written to a stream.
    pub(crate) fn write(&self, stream: StreamId, bytes: usize) -> InFlightBytes<'_> {
        let of = &self.0[stream as usize];
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        of.room.fetch_sub(bytes, Ordering::Relaxed);
        of.in_flight.fetch_add(bytes, Ordering::Relaxed);
        InFlightBytes { of, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_since_the_last_look_counts_as_stored() {
        let (fill, stream) = (StreamFill::default(), StreamId::Webhooks);
        assert!(!fill.is_full(stream), "no look yet");
        fill.set(stream, Room::Bytes(1000));
        drop(fill.write(stream, 600));
        assert!(!fill.is_full(stream) && !fill.is_full(StreamId::Events));
        let in_flight = fill.write(stream, 400);
        assert!(fill.is_full(stream));
        // It may be in flight still.
        fill.set(stream, Room::Bytes(400));
        assert!(fill.is_full(stream));
        drop(in_flight);
        fill.set(stream, Room::Bytes(1));
        assert!(!fill.is_full(stream));
        fill.set(stream, Room::Full);
        assert!(fill.is_full(stream));
        fill.set(stream, Room::Unlimited);
        assert!(!fill.is_full(stream));
    }
}
