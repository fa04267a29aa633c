//! Messages of one stream on their way to the store. Pure.

use bus::Delivery;
use jiff::Timestamp;

use crate::row::Row;
use crate::store::{BATCH_ROWS_MAX, Batch, Gap, NewRow, Position};

/// Most rows that one message makes: a result, and its attempts.
const ROWS_OF_MESSAGE_MAX: usize = 16;
/// Memory of rows from which a batch takes no more, in bytes. With full bodies, as many rows as it may have would take 70 MiB.
const BATCH_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Memory of an id of a row besides its text, in bytes.
const LINK_BYTES: usize = 64;

/// Rows that were read and are not stored yet.
#[derive(Debug)]
pub(super) struct Gathered {
    /// How far the stream is read with them.
    position: Position,
    rows: Vec<NewRow>,
    /// Memory of the rows.
    bytes: usize,
    gaps: Vec<Gap>,
}

impl Gathered {
    /// Gathers after a position.
    pub(super) fn new(position: Position) -> Self {
        Self { position, rows: Vec::new(), bytes: 0, gaps: Vec::new() }
    }

    /// Whether the stream can have this message after those before. If not, the stream has gone back.
    pub(super) fn is_next(&self, delivery: &Delivery) -> bool {
        delivery.sequence > self.position.sequence
    }

    /// Adds a message. Messages between it and the one before it were no longer stored when they were to be read.
    pub(super) fn add(&mut self, delivery: &Delivery, rows: Vec<NewRow>) {
        self.miss_up_to(delivery.sequence.saturating_sub(1), delivery.stored_at);
        self.position.sequence = delivery.sequence;
        self.position.stored_at = delivery.stored_at;
        self.bytes += rows.iter().map(|new| bytes(&new.row)).sum::<usize>();
        self.rows.extend(rows);
    }

    /// Passes the end of what the stream held: up to this sequence, no message is there that was not read.
    pub(super) fn pass(&mut self, sequence: u64, noticed_at: Timestamp) {
        let noticed_at = noticed_at.max(self.position.stored_at);
        self.miss_up_to(sequence, noticed_at);
        self.position.sequence = sequence;
        self.position.stored_at = noticed_at;
    }

    fn miss_up_to(&mut self, last: u64, before: Timestamp) {
        let first = self.position.sequence.max(self.position.missed_after) + 1;
        if first <= last {
            let after = (self.position.sequence > 0).then_some(self.position.stored_at);
            self.gaps.push(Gap { stream: self.position.stream, first, last, after, before });
        }
    }

    /// Whether another message may not fit.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() + ROWS_OF_MESSAGE_MAX > BATCH_ROWS_MAX || self.bytes >= BATCH_BYTES_MAX
    }

    /// The rows with the position after them.
    pub(super) fn finish(self) -> Batch {
        Batch { rows: self.rows, position: self.position, gaps: self.gaps }
    }
}

/// About the memory that a row takes, in bytes.
fn bytes(row: &Row) -> usize {
    let links = row.links.iter().map(|link| LINK_BYTES + link.shown.len()).sum::<usize>();
    let error = row.error.as_ref().map_or(0, |error| error.code.len() + error.name.len() + error.text.len());
    size_of::<NewRow>() + size_of::<Row>() + row.body.len() + row.summary.len() + error + links
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bus::Headers;
    use bytes::Bytes;

    use super::*;
    use crate::row::{RowKind, StreamNumber};
    use crate::rules::tests::rows::{at, row};

    fn position(sequence: u64, missed_after: u64) -> Position {
        let stream = StreamNumber::Events;
        Position { stream, created_at: at(-60.0), reading: 0, missed_after, sequence, stored_at: at(0.0) }
    }

    fn add(gathered: &mut Gathered, sequence: u64, body_bytes: usize) {
        let mut row = row(RowKind::Report, StreamNumber::Events, sequence, 1.0);
        row.body = "x".repeat(body_bytes);
        let delivery = Delivery {
            subject: String::new(),
            headers: Headers::default(),
            payload: Bytes::new(),
            sequence,
            attempt: 1,
            stored_at: row.stored_at,
        };
        gathered.add(
            &delivery,
            vec![NewRow { row: Arc::new(row), expected: Vec::new(), settled: Vec::new(), replayed: None }],
        );
    }

    #[test]
    fn a_batch_is_full_by_its_rows_or_their_memory() {
        for (body_bytes, full_at) in [(0, 4000..4097), (16 * 1024, 100..129)] {
            let mut gathered = Gathered::new(position(0, 0));
            let rows = (1..).find(|sequence| {
                add(&mut gathered, *sequence, body_bytes);
                gathered.is_full()
            });
            let rows = rows.unwrap();
            assert!(full_at.contains(&rows), "{rows} rows with bodies of {body_bytes} bytes");
        }
    }

    #[test]
    fn what_was_gone_when_reading_began_is_not_missed() {
        let mut gathered = Gathered::new(position(0, 10));
        for sequence in [3, 7, 13, 14] {
            add(&mut gathered, sequence, 0);
        }
        gathered.pass(20, at(9.0));
        let batch = gathered.finish();
        let gap = |first, last, before| Gap {
            stream: StreamNumber::Events,
            first,
            last,
            after: Some(at(1.0)),
            before,
        };
        assert_eq!(batch.gaps, [gap(11, 12, at(1.0)), gap(15, 20, at(9.0))]);
        assert_eq!((batch.position.sequence, batch.position.stored_at), (20, at(9.0)));
    }

    #[test]
    fn before_the_first_message_no_time_is_known() {
        let mut gathered = Gathered::new(position(0, 0));
        add(&mut gathered, 3, 0);
        let missed = gathered.finish().gaps;
        assert_eq!((missed[0].first, missed[0].last, missed[0].after), (1, 2, None));
    }
}
