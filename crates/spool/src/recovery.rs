//! Opening a sub-folder: what earlier processes have left in it.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::limits::{BATCH_BYTES, ENTRY_BYTES_MAX, SEGMENT_BYTES_MAX};
use crate::position;
use crate::record::HEAD_BYTES;
use crate::segment::{self, Scan, SegmentName};
use crate::state::{Cursor, Segment, State};

/// What is in a sub-folder.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) state: State,
    /// Segments that cannot be opened, and are left where they are.
    pub(crate) errors: Vec<io::Error>,
    /// Bytes of the segments.
    pub(crate) disk_bytes: u64,
}

/// Most entries of a segment. A batch may begin right below the limit of a segment.
const ENTRIES_MAX: u64 = (SEGMENT_BYTES_MAX + BATCH_BYTES + ENTRY_BYTES_MAX as u64) / HEAD_BYTES as u64;

/// Reads a sub-folder. Nothing is written to segments that exist, so that a record that was cut off at the end of one is
/// left as it is.
pub(crate) fn read(folder: &Path) -> io::Result<Recovered> {
    let saved = position::read(folder);
    let mut recovered = Recovered::default();
    let mut next_sequence = saved.max(1);
    for name in segment::list(folder)? {
        recovered.state.next_number = name.number;
        match scan(folder, name, saved) {
            Ok(scan) => {
                next_sequence = next_sequence.max(scan.last.map_or(0, |last| last + 1));
                recovered.add(name, scan);
            }
            Err(error) => {
                // Its entries are read by the next process that can open it, so none of their sequences is used again.
                next_sequence += ENTRIES_MAX;
                recovered.state.is_position_held = true;
                recovered.errors.push(error);
            }
        }
    }
    let state = &mut recovered.state;
    (state.next_number, state.next_sequence) = (state.next_number + 1, next_sequence);
    (state.saved, state.acknowledged_below) = (saved, saved);
    state.cursor = Cursor { number: 0, offset: 0, sequence: saved };
    Ok(recovered)
}

fn scan(folder: &Path, name: SegmentName, position: u64) -> io::Result<Scan> {
    segment::scan(&File::open(name.path(folder))?, name.marker, position)
}

impl Recovered {
    fn add(&mut self, name: SegmentName, scan: Scan) {
        self.state.entries += scan.entries;
        self.state.bytes += scan.bytes;
        self.disk_bytes += scan.length;
        self.state.segments.push_back(Segment {
            name,
            length: scan.length,
            last: scan.last,
            oldest_ms: scan.oldest_ms,
            unread: scan.entries,
            unread_bytes: scan.bytes,
            is_open: false,
            is_kept: false,
        });
    }
}
