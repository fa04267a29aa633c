//! Messages of one stream on their way to the store. Pure.

use bus::Delivery;
use jiff::Timestamp;

use crate::row::StreamNumber;
use crate::store::{BATCH_ROWS_MAX, Batch, Gap, NewRow, Position};

/// Most rows that one message makes: a result, and its attempts.
const ROWS_OF_MESSAGE_MAX: usize = 16;

/// Where a reader is in its stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) stream: StreamNumber,
    /// When the stream was created.
    pub(super) created_at: Timestamp,
    /// The last message that was read; `None` before the first.
    pub(super) last: Option<Last>,
}

/// A message that was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Last {
    pub(super) sequence: u64,
    pub(super) stored_at: Timestamp,
}

/// Rows that were read and are not stored yet.
#[derive(Debug)]
pub(super) struct Gathered {
    place: Place,
    rows: Vec<NewRow>,
    gaps: Vec<Gap>,
    has_read: bool,
}

impl Gathered {
    pub(super) fn new(place: Place) -> Self {
        Self { place, rows: Vec::new(), gaps: Vec::new(), has_read: false }
    }

    /// Adds a message. Messages between it and the one before it were no longer stored when they were to be read.
    pub(super) fn add(&mut self, delivery: &Delivery, rows: Vec<NewRow>) {
        if let Some(last) = self.place.last
            && delivery.sequence > last.sequence + 1
        {
            self.gaps.push(Gap {
                stream: self.place.stream,
                first: last.sequence + 1,
                last: delivery.sequence - 1,
                after: Some(last.stored_at),
                before: delivery.stored_at,
            });
        }
        self.place.last = Some(Last { sequence: delivery.sequence, stored_at: delivery.stored_at });
        self.rows.extend(rows);
        self.has_read = true;
    }

    /// Whether another message may not fit.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() + ROWS_OF_MESSAGE_MAX > BATCH_ROWS_MAX
    }

    /// The rows with the place after them; `None` if nothing was read.
    pub(super) fn finish(self) -> Option<(Batch, Place)> {
        let last = self.place.last.filter(|_| self.has_read)?;
        let position = Position {
            stream: self.place.stream,
            created_at: self.place.created_at,
            sequence: last.sequence,
            stored_at: last.stored_at,
        };
        Some((Batch { rows: self.rows, position, gaps: self.gaps }, self.place))
    }
}
