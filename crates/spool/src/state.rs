//! What a process knows of its sub-folder: the segments, what was read, what is acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;

use crate::segment::SegmentName;

/// A segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) name: SegmentName,
    /// Bytes that may be read. All of them are fsynced.
    pub(crate) length: u64,
    /// The highest sequence in it; `None` while it has no entry.
    pub(crate) last: Option<u64>,
    /// When the first entry arrived that was not acknowledged when the segment was opened.
    pub(crate) oldest_ms: Option<i64>,
    /// Entries that are not read yet, and their bytes.
    pub(crate) unread: u64,
    pub(crate) unread_bytes: u64,
    /// Whether more may be written to it.
    pub(crate) is_open: bool,
    /// Whether parts of it were not read and are not in `aside`, so that the whole file is moved there.
    pub(crate) is_kept: bool,
}

/// The segment that is written.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) name: SegmentName,
    pub(crate) file: File,
    pub(crate) length: u64,
}

/// Entries that were appended together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    /// The sequence of the first.
    pub(crate) sequence: u64,
    pub(crate) entries: u64,
    /// When the first arrived.
    pub(crate) arrived_ms: i64,
    /// Their range in the segment, in bytes.
    pub(crate) begin: u64,
    pub(crate) end: u64,
}

/// How far a sub-folder was read.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    /// Number of the segment.
    pub(crate) number: u64,
    /// Position in it, in bytes.
    pub(crate) offset: u64,
    /// The sequence after the last one that was read.
    pub(crate) sequence: u64,
}

/// An entry that was read and is not acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) arrived_ms: i64,
    pub(crate) bytes: u64,
}

/// The state of a sub-folder.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) segments: VecDeque<Segment>,
    /// `None` before it is created, and while the writer writes to it.
    pub(crate) open: Option<OpenSegment>,
    pub(crate) next_number: u64,
    pub(crate) next_sequence: u64,
    pub(crate) cursor: Cursor,
    pub(crate) reading: BTreeMap<u64, Reading>,
    /// Entries that are not acknowledged, and their bytes.
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
    /// The position when the sub-folder was opened.
    pub(crate) acknowledged_below: u64,
    /// The position in the file.
    pub(crate) saved: u64,
    /// Whether the position stays as it is, because a segment could not be opened: a later one would count its entries as
    /// acknowledged.
    pub(crate) is_position_held: bool,
    /// Segments that are drained and could not be removed.
    pub(crate) remaining: Vec<Segment>,
}

impl State {
    /// The sequence below which everything is acknowledged.
    pub(crate) fn position(&self) -> u64 {
        self.reading.first_key_value().map_or(self.cursor.sequence, |(first, _)| *first)
    }

    /// When the oldest entry arrived that is not acknowledged.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        if self.entries == 0 {
            return None;
        }
        let of_reading = self.reading.values().next().map(|reading| reading.arrived_ms);
        of_reading.or_else(|| self.unread().find_map(|segment| segment.oldest_ms))
    }

    fn unread(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.name.number >= self.cursor.number)
    }

    /// The segment to read next. Moves the cursor over segments that were read to their end.
    pub(crate) fn next_to_read(&mut self) -> Option<&mut Segment> {
        let cursor = &mut self.cursor;
        for segment in &mut self.segments {
            if segment.name.number < cursor.number {
                continue;
            }
            if segment.name.number > cursor.number {
                (cursor.number, cursor.offset) = (segment.name.number, 0);
            }
            if cursor.offset < segment.length {
                return Some(segment);
            }
            if segment.is_open {
                return None;
            }
            // Entries that were counted and not found: their heads are damaged.
            self.entries = self.entries.saturating_sub(std::mem::take(&mut segment.unread));
            self.bytes = self.bytes.saturating_sub(std::mem::take(&mut segment.unread_bytes));
            (cursor.number, cursor.offset) = (segment.name.number + 1, 0);
        }
        None
    }

    /// Whether everything was read and acknowledged.
    pub(crate) fn is_drained(&mut self) -> bool {
        self.reading.is_empty() && self.next_to_read().is_none()
    }

    /// Records that an entry was read, or cannot be read. Returns whether it was acknowledged before.
    pub(crate) fn pass(&mut self, sequence: u64, bytes: u64) -> bool {
        if sequence < self.acknowledged_below {
            return true;
        }
        self.cursor.sequence = self.cursor.sequence.max(sequence + 1);
        if let Some(segment) = self.next_to_read() {
            segment.unread = segment.unread.saturating_sub(1);
            segment.unread_bytes = segment.unread_bytes.saturating_sub(bytes);
        }
        false
    }

    /// Records that an entry does not wait any more.
    pub(crate) fn done(&mut self, bytes: u64) {
        self.entries = self.entries.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Records that fsynced entries follow in the segment that is written.
    pub(crate) fn appended(&mut self, written: &Written) {
        let bytes = written.end - written.begin;
        self.next_sequence = written.sequence + written.entries;
        self.entries += written.entries;
        self.bytes += bytes;
        let Some(segment) = self.segments.back_mut() else { return };
        segment.length = written.end;
        segment.last = Some(self.next_sequence - 1);
        segment.oldest_ms = segment.oldest_ms.or(Some(written.arrived_ms));
        segment.unread += written.entries;
        segment.unread_bytes += bytes;
    }

    /// Ends the segment that is written, so that it is removed when it is drained.
    pub(crate) fn close(&mut self) {
        self.open = None;
        for segment in &mut self.segments {
            segment.is_open = false;
        }
    }

    /// Takes the segments of which everything is acknowledged.
    pub(crate) fn take_drained(&mut self) -> Vec<Segment> {
        let mut drained = std::mem::take(&mut self.remaining);
        let is_used = self.open.as_ref().is_some_and(|open| open.length > 0);
        if is_used && self.is_drained() {
            // The next write begins another segment.
            self.close();
            let _ = self.next_to_read();
        }
        while let Some(front) = self.segments.front() {
            let is_read = !front.is_open && front.name.number < self.cursor.number;
            let oldest_reading = self.reading.first_key_value().map(|(first, _)| *first);
            let is_acknowledged = oldest_reading.is_none_or(|oldest| Some(oldest) > front.last);
            if !is_read || !is_acknowledged {
                break;
            }
            drained.extend(self.segments.pop_front());
        }
        drained
    }
}
